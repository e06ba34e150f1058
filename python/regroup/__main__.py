"""Runs a tool that calls PyTorch's launcher in its own process, with regroup in that launcher's place.

    python -m regroup accelerate launch train.py    a command of this Python's environment
    python -m regroup -m package.tool …             a module
    python -m regroup tools/launch.py …             a script

Where the tool calls torch.distributed.run's run(), the regroup command does the work; everything else
is the tool's and PyTorch's own. To launch a script without such a tool: `regroup …`, or
`python -m regroup.run …` in the place of `python -m torch.distributed.run …`.
"""
import os
import runpy
import shutil
import sys

from regroup import _stand_in


def main(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if argv else 2)
    if argv[0] == "-m" and len(argv) > 1:
        _stand_in.install()
        return run_module(argv[1], argv[1:])
    if argv[0].startswith("-"):
        sys.exit(
            "regroup: `python -m regroup` takes the tool first, and %s isn't one; to launch a script: "
            "`python -m regroup.run %s …`" % (argv[0], argv[0])
        )
    _stand_in.install()
    if os.sep in argv[0] or argv[0].endswith(".py"):
        return run_script(argv)
    run_command(argv)


def run_module(name, argv):
    sys.argv = argv
    if name == _stand_in.SERVED:
        # runpy would read torch's own file again.
        import torch.distributed.run

        return torch.distributed.run.main()
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def run_script(argv):
    sys.argv = argv
    search_first(os.path.dirname(os.path.abspath(argv[0])))
    runpy.run_path(argv[0], run_name="__main__")


def run_command(argv):
    """As the script in the environment's bin/ would."""
    function = entry_point(argv[0])
    if function is None:
        sys.exit("regroup: %s is no command of the environment of %s" % (argv[0], sys.executable))
    path = shutil.which(argv[0], path=os.path.dirname(sys.executable)) or argv[0]
    sys.argv = [path, *argv[1:]]
    search_first(os.path.dirname(path))
    sys.exit(function.load()())


def entry_point(name):
    from importlib import metadata

    found = metadata.entry_points()
    # Python 3.8 and 3.9 give a plain dictionary.
    commands = (
        found.select(group="console_scripts", name=name)
        if hasattr(found, "select")
        else [each for each in found.get("console_scripts", ()) if each.name == name]
    )
    return next(iter(commands), None)


def search_first(folder):
    """What a script finds first on its path is its own folder, where `-m` has put the working directory."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


if __name__ == "__main__":
    main(sys.argv[1:])
