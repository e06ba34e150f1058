"""Serves torch.distributed.run with `run` exchanged for regroup; whatever else is in it stays torch's own."""
import importlib.machinery
import sys

from regroup import _command

SERVED = "torch.distributed.run"


def install():
    """From now on, for imports of this process."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != SERVED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """Torch's own, and then one name more."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)

        def run(args):
            """Launches by regroup what `args` says, as torch.distributed.run.get_args_parser() gives it."""
            _command.run(arguments_of(args, module.get_args_parser()))

        module.run = run


def arguments_of(args, parser):
    """The command line that the parser would read `args` from: what differs from its defaults.

    Tools change what they have parsed, and add attributes of their own, which aren't for us.
    """
    options = []
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        # How many nodes there are is the tool's to say: without a word of it the command asks the scheduler.
        is_usual = value == action.default and action.dest != "nnodes"
        if not action.option_strings or value is None or is_usual:
            continue
        name = max(action.option_strings, key=len)
        if action.nargs == 0:
            # PET_… may set one that the tool has unset again; there's no option for that.
            options += [name] if value else []
        elif isinstance(value, (list, tuple)):
            options.append("%s=%s" % (name, ",".join(map(str, value))))
        else:
            options.append("%s=%s" % (name, value))
    script_args = list(map(str, getattr(args, "training_script_args", None) or []))
    if not getattr(args, "use_env", True):
        # torch.distributed.launch: each rank is told its number, by an option that was renamed together
        # with the launcher's own. Source: torch/distributed/run.py, config_from_args, v1.13.1 and v2.13.0
        dashed = any("--nproc-per-node" in action.option_strings for action in parser._actions)
        script_args.insert(0, ("--local-rank" if dashed else "--local_rank") + "=${local_rank}")
    return [*options, args.training_script, *script_args]
