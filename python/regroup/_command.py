"""Finds the regroup command, and starts it as if it had been called in Python's place."""
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

# Passed on to the command while it runs. Python takes part in no other.
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def find_command():
    """argv of the command: REGROUP_COMMAND, else the one of the package that this file is in, else PATH's.

    REGROUP_COMMAND is split as a shell does, so that `node /opt/regroup/dist/bin/regroup.cjs` can be one.
    """
    named = shlex.split(os.environ.get("REGROUP_COMMAND", ""))
    if named:
        return named
    found = _beside_us() or shutil.which("regroup")
    if found is None:
        sys.exit(
            "regroup: no regroup command is to be found: neither REGROUP_COMMAND, nor beside %s, nor on the "
            "PATH; `npm install -g regroup` gives one" % os.path.dirname(os.path.abspath(__file__))
        )
    return [found]


def _beside_us():
    """The command of the npm package, which has our folder as python/regroup."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        with open(os.path.join(package, "package.json"), encoding="utf-8") as file:
            described = json.load(file)
        path = os.path.join(package, described["bin"]["regroup"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # another package's, or none
    return path if described.get("name") == "regroup" and os.access(path, os.X_OK) else None


def environment():
    """Ours, with this interpreter for the workers unless another one is named, as torch's launcher has it."""
    return {"PYTHON_EXEC": sys.executable, **os.environ}


def become(arguments):
    """The command takes this process over."""
    argv = find_command() + arguments
    # Python ignores them, and what it becomes would go on ignoring them.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environment())
    except OSError as error:
        sys.exit("regroup: %s: %s" % (argv[0], error.strerror))


def run(arguments):
    """Runs the command to its end, which it doesn't survive us: see _attached.py.

    Raises SystemExit with its exit code unless that's 0; 128 + n where signal n has ended it. The tool
    that calls us prints no second report then.
    """
    attached = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_attached.py")
    argv = [sys.executable, "-I", "-S", attached, str(os.getpid()), *find_command(), *arguments]
    process = subprocess.Popen(argv, env=environment())
    before = _forward_to(process)
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code != 0:
        raise SystemExit(code if code > 0 else 128 - code)


def _forward_to(process):
    """Lets the command have the signals that come to us. @returns the handlers there were"""
    before = {}
    for number in _FORWARDED:
        try:
            # None: it wasn't Python that installed it.
            if signal.getsignal(number) in (signal.SIG_IGN, None):
                continue
            before[number] = signal.signal(number, lambda number, _frame: process.send_signal(number))
        except ValueError:
            break  # only the first thread may; signals then end us, and with us the command
    return before
