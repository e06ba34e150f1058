"""Records what a cold script imports, and what it does before, for the standbys of the rounds that follow.

A line per record: `shim VERSION`, `module NAME`, `own MARK PATH` (a file of the user's own), `set NAME=VALUE`, `unset NAME`, `end WHY`
(what follows can't be repeated beforehand, and isn't recorded), `unsafe WHY` (the same before any installed package). Nothing of it
stays visible but the class of os.environ, which is a subclass of what it was.
"""
import _frozen_importlib as bootstrap
import os
import sys

from _regroup_checks import is_package, is_system, mark

# The launcher reads no more.
MAX_BYTES = 256 << 10
LAST = b"end its record is full\n"

# What differs between workers or rounds, and what's computed from it as well.
VARYING = frozenset((
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_ERROR_FILE", "REGROUP_ROUND", "REGROUP_COOKIE", "REGROUP_STORE",
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK",
))  # fmt: skip


class Learner:
    def __init__(self, target):
        """target: DEVICE:INODE:NAME,…:PATH of a file that's there, and of variables that other workers have otherwise"""
        device, inode, names, self.path = target.split(":", 3)
        self.identity = (int(device), int(inode))
        self.varying = VARYING.union(names.split(","))
        self.room = MAX_BYTES - len(LAST)
        self.pid = os.getpid()
        # The import that goes on, if it's of the system.
        self.current = None
        self.main = None
        self.has_package = False
        self.read = None
        self.doubt = None
        # Of the environment since the last import: name -> line. What follows the last one is nobody's business.
        self.pending = {}
        self.dlopen_flags = sys.getdlopenflags()
        self.write("shim %d.%d.%d" % sys.version_info[:3])

    def install(self):
        if self.path is None:
            return
        learner = self
        # Without the script's folder, which comes first.
        self.search = list(sys.path)
        self.found_by = bootstrap.BuiltinImporter.__dict__["find_spec"]
        find_builtin = self.found_by.__func__

        def find_spec(cls, fullname, path=None, target=None):
            frame = sys._getframe(1).f_back
            if frame is not None and frame.f_code.co_name == "_find_and_load_unlocked":
                learner.follow(learner.imports, fullname, path)
            return find_builtin(cls, fullname, path, target)

        self.finder = bootstrap.BuiltinImporter.find_spec = classmethod(find_spec)

        self.base = base = type(os.environ)

        class _Environ(base):
            def __getitem__(self, key):
                learner.follow(learner.looks, key)
                return base.__getitem__(self, key)

            def __setitem__(self, key, value):
                base.__setitem__(self, key, value)
                learner.follow(learner.environment, key, value)

            def __delitem__(self, key):
                base.__delitem__(self, key)
                learner.follow(learner.environment, key, None)

        _Environ.__module__, _Environ.__qualname__ = base.__module__, base.__qualname__
        self.mine = _Environ
        os.environ.__class__ = _Environ

    def uninstall(self):
        self.path = None
        if bootstrap.BuiltinImporter.__dict__["find_spec"] is self.finder:
            bootstrap.BuiltinImporter.find_spec = self.found_by
        if type(os.environ) is self.mine:
            os.environ.__class__ = self.base

    def follow(self, act, *given):
        """Nothing that goes wrong here is the script's business."""
        try:
            act(*given)
        except Exception:
            try:
                self.end("it can't be followed any further")
            except Exception:
                self.path = None

    def looks(self, key):
        """What's computed of a variable that other workers have otherwise is theirs neither."""
        if self.read is None and key in self.varying and not self.is_importing():
            self.read = key

    def imports(self, name, path):
        if self.path is None or os.getpid() != self.pid or self.is_importing():
            return
        if self.main is None:
            self.main = getattr(sys.modules.get("__main__"), "__file__", None)
            self.own(self.main)
        origin = origin_of(name, path)
        if origin is None or not is_system(origin):
            self.current = None
            self.own(origin)
            return
        self.current = name
        doubt = self.doubt or self.doubt_of(name, path, origin)
        if doubt:
            self.end("%s before it imports %s" % (doubt, name))
            return
        for line in self.pending.values():
            self.write(line)
        self.pending.clear()
        self.has_package = self.has_package or is_package(origin)
        self.write("module " + name)

    def doubt_of(self, name, path, origin):
        """What the script has done that nobody can repeat beforehand; or None."""
        if sys.getdlopenflags() != self.dlopen_flags:
            return "it changes dlopen flags"
        if path is None and sys.path not in (self.search, sys.path[:1] + self.search):
            if origin_of(name, self.search) != origin:
                return "it changes sys.path"
        return None

    def is_importing(self):
        """Whether a module of the system imports, and not the script or a file of its own."""
        if self.current is None:
            return False
        module = sys.modules.get(self.current)
        spec = getattr(module, "__spec__", None)
        return bool(getattr(spec, "_initializing", False))

    def environment(self, name, value):
        if self.path is None or self.is_importing():
            return
        self.pending.pop(name, None)
        if value is None:
            self.pending[name] = "unset " + name
        elif "\n" in value:
            self.doubt = "it sets %s to several lines" % name
        elif self.read is not None:
            self.doubt = "it sets %s after it has read %s," % (name, self.read)
        else:
            self.pending[name] = "set %s=%s" % (name, value)

    def own(self, path):
        """The next launch learns anew where such a file has changed."""
        if not isinstance(path, str) or "\n" in path:
            return
        found = mark(path)
        if found:
            self.write("own %d:%d %s" % (*found, os.path.abspath(path)))

    def end(self, why):
        self.write("%s %s" % ("end" if self.has_package else "unsafe", why))
        self.uninstall()

    def write(self, line):
        # A forked child's imports are its own.
        if self.path is None or os.getpid() != self.pid:
            return
        text = os.fsencode(line) + b"\n"
        self.room -= len(text)
        try:
            if self.room < 0:
                self.append(LAST)
                self.path = None
            elif not self.append(text):
                self.path = None
        except OSError:
            # The launcher has gone, or can't be reached: what's there is a list too, and a shorter one is only less warm.
            self.path = None

    def append(self, text):
        """Opens it for each line: the script sees no descriptor more. False where something else is at its path."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(file)
            if (status.st_dev, status.st_ino) != self.identity:
                return False
            return os.write(file, text) == len(text)
        finally:
            os.close(file)


def origin_of(name, path):
    """Where a module comes from; None for what isn't found, or only by finders that somebody has added."""
    if name in sys.builtin_module_names:
        return "built-in"
    for finder in sys.meta_path:
        if finder in (bootstrap.FrozenImporter, sys.modules["_frozen_importlib_external"].PathFinder):
            spec = finder.find_spec(name, path)
            if spec is not None:
                places = list(spec.submodule_search_locations or ())
                return spec.origin or (places[0] + "/" if places else None)
    return None
