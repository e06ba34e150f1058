"""Turns a starting interpreter into a standby, or has it record what its script imports.

The folder of this file comes first in PYTHONPATH, so `site` imports it before the script is opened. A standby imports what it is
told, waits for its order, and returns from here: the interpreter itself then runs the script. Standard library only; Python
3.9 and newer. docs/warm.md tells what a script can see of it.
"""
import os
import sys


def run_the_users():
    """Imports the sitecustomize that this one stands before; gives what it raised, or None."""
    sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except BaseException as error:
        return error
    return None


def leave(folder):
    """Takes this folder and what it brought out of the interpreter's sight."""
    while folder in sys.path:
        sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    for name in [each for each in sys.modules if each.startswith("_regroup_")]:
        del sys.modules[name]


def own_environment_out(folder):
    """The environment as it would be without us; gives where imports are recorded, or None where nobody wants to learn."""
    target = os.environ.pop("REGROUP_LEARN", None)
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if target is not None and os.path.abspath(first) == folder:
        if rest:
            os.environ["PYTHONPATH"] = rest
        else:
            del os.environ["PYTHONPATH"]
    return target


def begin():
    folder = os.path.dirname(os.path.abspath(__file__))
    if "REGROUP_STANDBY" in os.environ:
        if sys.version_info < (3, 9):
            os.write(2, b"regroup: standbys take Python 3.9 or newer\n")
            os._exit(1)
        try:
            import _regroup_standby

            return _regroup_standby.stand_by(folder, leave, run_the_users)
        except BaseException as error:
            # The script must not run: nobody has ordered it. stderr may be the worker's; this is for its log.
            os.write(2, ("regroup: a standby ends: %s: %s\n" % (type(error).__name__, error)).encode())
            os._exit(1)
    learner = None
    target = own_environment_out(folder)
    try:
        if target is not None and sys.version_info >= (3, 9):
            import _regroup_learn

            learner = _regroup_learn.Learner(target)
    except Exception as error:
        # A round that nobody learns from is a round like any other.
        os.write(2, ("regroup: imports aren't recorded: %s\n" % error).encode())
    leave(folder)
    outcome = run_the_users()
    # Each standby runs that one too; what it imports isn't the script's.
    if learner is not None:
        learner.install()
    return outcome


outcome = begin()
if outcome is not None:
    # As if `site` had found that one itself: without any it expects an ImportError of this name.
    raise outcome
