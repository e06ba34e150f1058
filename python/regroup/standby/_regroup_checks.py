"""What tells a parked interpreter from one that is about to import: looked at before and after."""
import os
import sys

# Device files of accelerators; a standby that has one open or mapped would hold memory there.
DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel", "/dev/infiniband/", "/dev/neuron", "/dev/davinci")

# Modules that follow the program's every line, by the name people know.
TOOLS = {"coverage": "coverage", "pydevd": "a debugger", "debugpy": "a debugger", "_pydevd_bundle": "a debugger"}

# Variables that make the interpreter itself report on imports.
REPORTS = ("PYTHONPROFILEIMPORTTIME", "PYTHONVERBOSE", "PYTHONTRACEMALLOC", "PYTHONDUMPREFS", "COVERAGE_PROCESS_START")


def tools(system, environment):
    """Problems of an interpreter that somebody else watches."""
    found = ["%s is set" % name for name in REPORTS if environment.get(name)]
    found += ["%s is loaded" % what for name, what in TOOLS.items() if name in system.modules]
    if system.gettrace() or system.getprofile():
        found.append("a trace or profile function is set")
    options = set(system._xoptions) - {"faulthandler", "utf8", "dev", "frozen_modules"}
    found += ["-X %s is given" % each for each in sorted(options)]
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            found.append("descriptor %d is a terminal" % descriptor)
    return found


class Snapshot:
    def __init__(self):
        self.state = state()
        self.python = python_state()

    def problems_since(self, entries):
        now = state()
        found = ["an import changed %s" % what for what in self.state if now.get(what) != self.state[what]]
        python = python_state()
        found += ["an import changed %s" % what for what in self.python if python[what] is not self.python[what]]
        found += devices()
        count = len(children())
        if count:
            found.append("an import left %d child process%s" % (count, "" if count == 1 else "es"))
        if sys.modules["_thread"]._count() > 0:
            found.append("an import started a Python thread")
        for entry in entries:
            for name, module in entry.modules.items():
                path = path_of(module)
                if path and not is_system(path):
                    found.append("%s loads %s, which isn't of the standard library or site-packages" % (entry.name, path))
                    return found
        return found


def state():
    """What the kernel knows of this process and an import has no business with."""
    status = read_status()
    signals = sys.modules["_signal"]
    return {
        "signal handlers": (
            # 32 and 33 are the C library's own, for its threads.
            [int(status.get(key, "0"), 16) & ~(3 << 31) for key in ("SigIgn", "SigCgt")],
            [id(signals.getsignal(number)) if number in valid(signals) else None for number in range(1, 65)],
        ),
        "the signal mask": status.get("SigBlk"),
        "a timer": signals.getitimer(signals.ITIMER_REAL),
        "the umask": status.get("Umask"),
        "the working directory": os.getcwd(),
        "limits": read("/proc/self/limits"),
        "the CPUs it may use": os.sched_getaffinity(0),
        "the priority": os.getpriority(os.PRIO_PROCESS, 0),
        "dlopen flags": sys.getdlopenflags(),
        "the recursion limit": sys.getrecursionlimit(),
        "the switch interval": sys.getswitchinterval(),
    }


def python_state():
    return {
        "sys.excepthook": sys.excepthook,
        "sys.displayhook": sys.displayhook,
        "sys.unraisablehook": sys.unraisablehook,
        "sys.stdin": sys.stdin,
        "sys.stdout": sys.stdout,
        "sys.stderr": sys.stderr,
        "builtins.__import__": __builtins__["__import__"],
        "the trace function": sys.gettrace(),
        "the profile function": sys.getprofile(),
    }


def lists():
    """Lists that imports change and that are put back and changed again."""
    return [sys.path, sys.meta_path, sys.path_hooks, sys.modules["_warnings"].filters]


def valid(signals):
    return signals.valid_signals() if hasattr(signals, "valid_signals") else range(1, 65)


def devices():
    found = []
    maps = read("/proc/self/maps")
    for line in maps.splitlines():
        path = line.partition("/")
        if ("/" + path[2]).startswith(DEVICES):
            found.append("an import has mapped /%s" % path[2])
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue
        if path.startswith(DEVICES):
            found.append("an import has opened %s" % path)
        elif path.startswith("/memfd:regroup-imports"):
            found.append("an import has kept a copy of stdout or stderr")
    return found[:1]


def children():
    found = []
    for thread in os.listdir("/proc/self/task"):
        found += read("/proc/self/task/%s/children" % thread).split()
    return found


def mapped():
    """Files of code that are mapped into this process: the interpreter and its libraries. Data, such as a name service's, is written all the time."""
    fields = (line.split(None, 5) for line in read("/proc/self/maps").splitlines())
    paths = dict.fromkeys(each[5] for each in fields if len(each) == 6 and "x" in each[1] and each[5].startswith("/"))
    # Memory has such names, too, and they are nobody's file.
    return [each for each in paths if not each.endswith(" (deleted)") and not each.startswith("/dev/")]


def marks(paths):
    """What tells each file from one that takes its place: path -> mark. What isn't there, such as a part of an archive, has none."""
    found = {each: mark(each) for each in paths}
    return {path: each for path, each in found.items() if each}


def changed(known):
    """A file that isn't any more what it was when it was marked; or None."""
    for path, was in known.items():
        if mark(path) != was:
            return path
    return None


def mark(path):
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # An inode's number isn't: some network disks give another one each time.
    return (status.st_mtime_ns, status.st_size)


def memory():
    """What the kernel says that this process takes, its share of common pages included, in bytes; 0: it doesn't (before 4.14)."""
    for line in read("/proc/self/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0


def threads():
    return len(os.listdir("/proc/self/task"))


def read_status():
    return dict(line.partition(":")[::2] for line in read("/proc/self/status").splitlines())


def read(path):
    try:
        # Not as text: with Python 3.9 that would import a module that is then missing from the script's.
        with open(path, "rb") as file:
            return os.fsdecode(file.read())
    except OSError:
        # Not of this kernel.
        return ""


def kind(descriptor):
    """What an interpreter's streams depend on: null devices and terminals are told apart, and files from pipes."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return (status.st_mode & 0o170000, status.st_rdev, os.isatty(descriptor))


def path_of(module):
    try:
        path = vars(module).get("__file__")
    except TypeError:
        return None
    return path if isinstance(path, str) else None


def is_native(module):
    """Whether a module is an extension that isn't of the standard library: libraries of its own come with it."""
    path = path_of(module)
    return path is not None and ".so" in os.path.basename(path) and ("site-packages" in path or "dist-packages" in path)


def is_system(path):
    """Whether a file is of the standard library or site-packages, and so not the user's own."""
    if is_package(path):
        return True
    library = os.path.dirname(os.path.abspath(os.__file__))
    # What is frozen or built in has no path.
    return path.startswith(library + "/") or not path.startswith("/")


def is_package(path):
    """Whether a file belongs to an installed package."""
    parts = path.split("/")
    return "site-packages" in parts or "dist-packages" in parts


def not_ours(name):
    """Why a name of the list isn't imported, or None."""
    if not all(part.isidentifier() for part in name.split(".")):
        return "not a module's name"
    top = name.partition(".")[0]
    if top in sys.modules or top in sys.builtin_module_names:
        return None
    for finder in sys.meta_path:
        spec = finder.find_spec(top, None)
        if spec is not None:
            break
    else:
        return "not found"
    # A namespace has no file of its own.
    places = list(spec.submodule_search_locations or ()) if spec.origin is None else [spec.origin]
    return None if all(is_system(each + "/") for each in places) else "the user's own"


def shadowed(argv, entries):
    """A file in the folder that comes first on the script's path, of the name of an imported module; or None."""
    if getattr(sys.flags, "safe_path", False):
        return None
    folder = script_folder(argv)
    if folder is None:
        return None
    names = {name for entry in entries for name in entry.modules if "." not in name}
    try:
        files = os.listdir(folder)
    except OSError:
        return None
    for file in files:
        stem, _, rest = file.partition(".")
        if stem not in names or rest == "pyi":
            continue
        path = os.path.join(folder, file)
        if rest:
            if rest in ("py", "pyc") or rest.endswith("so"):
                return path
        elif os.path.exists(os.path.join(path, "__init__.py")):
            return path
    return None


def script_folder(argv):
    """The folder that the interpreter will put first on sys.path; the working directory for -m and -c."""
    for each in argv[1:]:
        if each in ("-m", "-c"):
            return os.getcwd()
        if not each.startswith("-"):
            return os.path.dirname(os.path.realpath(each)) if os.path.islink(each) else os.path.dirname(os.path.abspath(each))
    return None
