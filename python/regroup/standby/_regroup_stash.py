"""Modules that are loaded but not to be seen yet: a script finds them when it imports them, as if they were loaded then.

`sys.modules` and all else that importing changes is put back as it was, and changed again, entry by entry, when the script
imports the same. Each state that a script sees has thus been one of an interpreter that imported these modules in that order.
"""
import _frozen_importlib as bootstrap
import _thread
import os
import sys


class Entry:
    """What one import of the list did."""

    def __init__(self, name):
        self.name = name
        # In sys.modules' order.
        self.modules = {}
        # (parent, child's name, child), where the parent belongs to an earlier entry.
        self.children = []
        self.path_cache = {}
        # What os.environ held before, as bytes, and what the import read of it, as text.
        self.environment_before = {}
        self.reads = set()
        # (name, value or None), as os.environ was written.
        self.environment = []
        # (list, before, after)
        self.lists = []
        # (function, args, kwargs) of atexit.register.
        self.at_exit = []
        # What it left with weakref.finalize, and what that keeps of each.
        self.finalizers = {}
        # Bytes for descriptors 1 and 2.
        self.output = {}


class Stash:
    def __init__(self, own):
        """own: modules that belong to nobody's list, each given alone to who imports it"""
        self.own = own
        # Those that need no others: each is given alone even if an import of the list has had it.
        self.alone = frozenset(own)
        self.entries = []
        # Module name → index of its entry.
        self.of = {}
        # Called with each entry before it's shown.
        self.before_entry = None
        self.is_hidden = False
        self.main_thread = _thread.get_ident()
        # weakref's, once it's known.
        self.finalize = None
        self.find_builtin = bootstrap.BuiltinImporter.__dict__["find_spec"]
        for name in own:
            sys.modules.pop(name, None)
        keep_for_good(self.entries, own["_string"])

    def install(self):
        find_builtin = self.find_builtin.__func__

        # The first finder that is asked, in all releases; sys.meta_path itself stays as it is.
        def find_spec(cls, fullname, path=None, target=None):
            if (fullname in self.of or fullname in self.own) and is_import(sys._getframe(1)):
                return bootstrap.ModuleSpec(fullname, Loader(self))
            if find_builtin.__code__.co_argcount == 4:
                return find_builtin(cls, fullname, path, target)
            return find_builtin(cls, fullname)

        bootstrap.BuiltinImporter.find_spec = classmethod(find_spec)

    def hide(self, known_cache):
        """Puts all entries away. known_cache: keys of sys.path_importer_cache that stay"""
        self.is_hidden = True
        self.finalize = finalize_class()
        for index, entry in enumerate(self.entries):
            for name, module in entry.modules.items():
                self.of[name] = index
                if sys.modules.get(name) is module:
                    del sys.modules[name]
        for entry in self.entries:
            for parent, child, module in entry.children:
                if vars(parent).get(child) is module:
                    delattr(parent, child)
            for key in entry.path_cache:
                if key not in known_cache:
                    sys.path_importer_cache.pop(key, None)
            for finalizer in entry.finalizers:
                self.finalize._registry.pop(finalizer, None)
            if any(self.runs_finalizers(function) for function, _, _ in entry.at_exit):
                self.finalize._registered_with_atexit = False
        for entry in reversed(self.entries):
            for values, before, _ in reversed(entry.lists):
                values[:] = before
        filters_changed()

    def runs_finalizers(self, function):
        """Whether what's registered with atexit is weakref's own."""
        return self.finalize is not None and function == self.finalize._exitfunc

    def keep_own(self, known):
        """Puts away what nobody's list has brought, such as a codec that only we have used."""
        for name in [each for each in sys.modules if each not in known]:
            module = self.own[name] = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
                delattr(sys.modules[parent], child)

    def show(self, name):
        """Shows all entries up to the one that has this module."""
        if name in self.own:
            sys.modules[name] = self.own.pop(name)
            self.rest()
            return
        last = self.of.get(name)
        if last is None:
            raise ImportError("No module named %r" % name, name=name)
        if name in self.alone or self.is_ending(sys._getframe()):
            self.show_alone(name, self.entries[last])
            return
        for index, entry in enumerate(self.entries[: last + 1]):
            if entry is not None:
                self.entries[index] = None
                self.show_entry(entry)
        self.rest()

    def is_ending(self, frame):
        """Whether the script is over, and what it left for its end imports: it's too late for what imports leave for that.

        Then nothing of the script is below, nor of who runs it. Of greenlets it never is.
        """
        if _thread.get_ident() != self.main_thread or "greenlet" in sys.modules:
            return False
        while frame.f_back is not None:
            frame = frame.f_back
        first = frame.f_code
        # An import as the first: the interpreter itself imports, such as runpy.
        is_import = first.co_filename == bootstrap._find_and_load.__code__.co_filename
        return not is_import and first.co_name not in ("<module>", "_run_module_as_main")

    def show_alone(self, name, entry):
        """Shows one module, and nothing else that its import did."""
        del self.of[name]
        sys.modules[name] = entry.modules[name]
        for parent, child, module in entry.children:
            if module is entry.modules[name]:
                setattr(parent, child, module)
        self.rest()

    def show_entry(self, entry):
        if self.before_entry is not None:
            self.before_entry(entry)
        for name, module in entry.modules.items():
            self.of.pop(name, None)
            sys.modules[name] = module
        for parent, child, module in entry.children:
            setattr(parent, child, module)
        for key, finder in entry.path_cache.items():
            sys.path_importer_cache.setdefault(key, finder)
        for values, before, after in entry.lists:
            repeat(values, before, after)
        if entry.lists:
            filters_changed()
        for name, value in entry.environment:
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for finalizer, kept in entry.finalizers.items():
            # They run in the order of these, the last one first.
            kept.index = next(self.finalize._index_iter)
            self.finalize._registry[finalizer] = kept
            self.finalize._dirty = True
        if entry.at_exit:
            import atexit

            for function, args, kwargs in entry.at_exit:
                if self.runs_finalizers(function):
                    # It's registered by whoever leaves the first one, which may have been the script.
                    if self.finalize._registered_with_atexit:
                        continue
                    self.finalize._registered_with_atexit = True
                atexit.register(function, *args, **kwargs)
        for descriptor, text in entry.output.items():
            write_out(descriptor, text)

    def rest(self):
        """Once nothing is hidden any more, the finder is the interpreter's own again."""
        if self.is_hidden and not self.of:
            self.entries.clear()
            if not self.own:
                bootstrap.BuiltinImporter.find_spec = self.find_builtin


class Loader:
    """What the import system loads a hidden module with."""

    def __init__(self, stash):
        self.stash = stash

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        # What the import system made gives way to the module itself.
        name = module.__name__
        self.stash.show(name)


def finalize_class():
    """weakref.finalize; None while nobody has imported it."""
    return getattr(sys.modules.get("weakref"), "finalize", None)


def finalizers():
    """What is left with weakref.finalize at this moment, and what that keeps of each."""
    return dict(getattr(finalize_class(), "_registry", ()))


def keep_for_good(values, _string):
    """Has the interpreter tear down nothing of a list when it ends: for a script that didn't import it, nothing of it was there.

    The iterator refers to the text that it's made from, and the garbage collector can't see it, so this circle always looks as if
    somebody held it.
    """

    class Text(str):
        pass

    text = Text()
    text.values = values
    text.iterator = _string.formatter_parser(text)


def is_import(frame):
    """Whether a finder was asked by an import, and not by somebody who only wants to know."""
    return frame.f_back is not None and frame.f_back.f_code.co_name == "_find_and_load_unlocked"


def repeat(values, before, after):
    """Changes a list as it was changed from `before` to `after`, whatever it holds now."""
    if values == before:
        values[:] = after
        return
    gone = [each for each in before if each not in after]
    values[:] = [each for each in values if each not in gone]
    new = [each for each in after if each not in before]
    # Behind the first of the old ones: appended; else put in front.
    at_front = [each for each in new if not before or before[0] not in after[: after.index(each)]]
    values[:0] = at_front
    values.extend(each for each in new if each not in at_front)


def filters_changed():
    """Tells the interpreter that warnings.filters isn't what it has cached."""
    warnings = sys.modules.get("_warnings")
    for name in ("_filters_mutated", "_filters_mutated_lock_held"):
        tell = getattr(warnings, name, None)
        if tell is not None:
            try:
                tell()
            except RuntimeError:
                # 3.14 wants its lock held.
                with warnings._acquire_lock() if hasattr(warnings, "_acquire_lock") else warnings._lock:
                    tell()


def write_out(descriptor, text):
    """Writes what an import printed, after all that was printed before it."""
    stream = sys.stdout if descriptor == 1 else sys.stderr
    try:
        if stream is not None:
            stream.flush()
        while text:
            text = text[os.write(descriptor, text) :]
    except OSError:
        # The import itself would have met the closed stream.
        pass
