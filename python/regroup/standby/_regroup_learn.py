"""Records what a cold script imports, and what it does before, for the standbys of the rounds that follow.

A line per record: `shim VERSION`, `module NAME`, `set NAME=VALUE`, `unset NAME`, `unsafe WHY`. Imports of the user's own files aren't
recorded, and what they import is. Nothing of it stays visible but the class of os.environ, which is a subclass of what it was.
"""
import _frozen_importlib as bootstrap
import os
import sys

from _regroup_checks import is_system


def begin(folder):
    """Takes the variable out, and gives the Learner to install; None where nobody wants to learn."""
    path = os.environ.pop("REGROUP_LEARN", None)
    if path is None:
        return None
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if os.path.abspath(first) == folder:
        if rest:
            os.environ["PYTHONPATH"] = rest
        else:
            del os.environ["PYTHONPATH"]
    return Learner(path)


class Learner:
    def __init__(self, path):
        self.path = path
        self.pid = os.getpid()
        # The import that goes on, if it's of the system.
        self.current = None
        self.dlopen_flags = sys.getdlopenflags()
        self.said = set()
        self.write("shim %d.%d.%d" % sys.version_info[:3])

    def install(self):
        learner = self
        find_builtin = bootstrap.BuiltinImporter.__dict__["find_spec"].__func__

        def find_spec(cls, fullname, path=None, target=None):
            frame = sys._getframe(1).f_back
            if frame is not None and frame.f_code.co_name == "_find_and_load_unlocked":
                learner.imports(fullname, path)
            return find_builtin(cls, fullname, path, target)

        bootstrap.BuiltinImporter.find_spec = classmethod(find_spec)

        base = type(os.environ)

        class _Environ(base):
            def __setitem__(self, key, value):
                base.__setitem__(self, key, value)
                learner.environment(key, value)

            def __delitem__(self, key):
                base.__delitem__(self, key)
                learner.environment(key, None)

        _Environ.__module__, _Environ.__qualname__ = base.__module__, base.__qualname__
        os.environ.__class__ = _Environ

    def imports(self, name, path):
        if self.is_importing():
            return
        origin = origin_of(name, path)
        if origin is None or not is_system(origin):
            self.current = None
            return
        self.current = name
        if sys.getdlopenflags() != self.dlopen_flags:
            self.unsafe("it changes dlopen flags before it imports %s" % name)
        self.write("module " + name)

    def is_importing(self):
        """Whether a module of the system imports, and not the script or a file of its own."""
        if self.current is None:
            return False
        module = sys.modules.get(self.current)
        spec = getattr(module, "__spec__", None)
        return bool(getattr(spec, "_initializing", False))

    def environment(self, name, value):
        if self.is_importing():
            return
        if value is None:
            self.write("unset " + name)
        elif "\n" in value:
            self.unsafe("it sets %s to several lines" % name)
        else:
            self.write("set %s=%s" % (name, value))

    def unsafe(self, why):
        if why not in self.said:
            self.said.add(why)
            self.write("unsafe " + why)

    def write(self, line):
        # A forked child's imports are its own.
        if self.path is None or os.getpid() != self.pid:
            return
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, os.fsencode(line) + b"\n")
            finally:
                os.close(file)
        except OSError:
            # A full disk: what's there is a list too, and a shorter one is only less warm.
            self.path = None


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
