"""The standby's side of its socket: prepare, park, take the order.

Messages are a length and fields, each of key and value, all of bytes (lib/preload/standby.ts has the other side). Only `_socket`,
`_string` and `atexit` are imported here, beyond what an interpreter has when it starts; the script doesn't see that they are.
"""
import os
import sys

import _regroup_checks as checks
from _regroup_stash import Entry, Stash, finalizers, write_out

VERSION = b"1"
MAX_BYTES = 16 << 20

# What libraries read by themselves when they are loaded, so that a later change comes too late.
READ_AT_LOAD = (
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "CUDA_", "PYTORCH_", "TORCH_", "NCCL_", "GLOO_",
    "HIP_", "HSA_", "ROCR_", "XLA_", "MALLOC_", "LD_", "TORCHDYNAMO_", "TORCHINDUCTOR_", "KINETO_",
)  # fmt: skip


class Gone(Exception):
    """Whoever started this standby wants it no more."""


class Refused(Exception):
    """Why this interpreter isn't what a cold one would be."""


def stand_by(folder, leave, run_the_users):
    """Gives what the user's sitecustomize raised, or None, once there is an order; else doesn't return."""
    standby = None
    try:
        standby = Standby(folder)
        return standby.run(leave, run_the_users)
    except (Gone, KeyboardInterrupt) as why:
        # With an order, which may be unread, it's a worker, and one whose script hasn't run has not succeeded.
        if isinstance(why, KeyboardInterrupt):
            os._exit(130)
        os._exit(0 if standby is None or not standby.ordered else 1)


class Standby:
    def __init__(self, folder):
        # What a cold interpreter has too.
        self.known = set(sys.modules)
        import _socket
        import _string
        import atexit

        self.pid = os.getpid()
        self.folder = folder
        self.atexit = atexit
        version, _, descriptor = os.environ["REGROUP_STANDBY"].partition(":")
        self.version = version
        self.base = high_descriptor()
        # Out of the way of the numbers that imports and the script get.
        os.dup2(int(descriptor), self.base, inheritable=False)
        os.close(int(descriptor))
        self.socket = _socket.socket(fileno=self.base)
        self.stash = Stash({"_socket": _socket, "_string": _string, "atexit": atexit})
        self.ordered = False
        self.problems = []
        self.missing = []
        self.loaded = []

    def run(self, leave, run_the_users):
        prepare, _ = self.receive()
        if self.version != "1" or prepare.get(b"version") != [VERSION]:
            self.problems.append("this standby knows version 1 of the protocol only")
            prepare, self.pairs = {}, []
        self.per_round = {os.fsdecode(each) for each in prepare.get(b"per-round", ())}

        self.own_environment_out()
        self.found = dict(os.environ._data)
        leave(self.folder)
        self.problems += checks.tools(sys, os.environ)
        before = checks.Snapshot()
        self.stash.install()
        output = Output(self.base + 1)
        try:
            outcome = self.import_all(self.pairs, output, run_the_users)
        finally:
            output.close()
        self.problems += before.problems_since(self.stash.entries)
        self.marks = checks.marks(self.files())
        self.stash.hide(self.known_cache)

        self.send(
            [(b"type", b"parked"), (b"version", VERSION), (b"pid", str(self.pid)), (b"python", sys.version.split()[0])]
            + [(b"module", each) for each in self.loaded]
            + [(b"missing", each) for each in self.missing]
            + [(b"problem", each) for each in self.problems]
            + [(b"file", os.fsencode(each)) for each in self.marks]
            + [(b"threads", str(checks.threads())), (b"memory", str(checks.memory()))]
        )
        self.take_order()
        return outcome

    def own_environment_out(self):
        """The environment as a cold worker would have it."""
        os.environ.pop("REGROUP_STANDBY")
        first, _, rest = os.environ["PYTHONPATH"].partition(os.pathsep)
        if os.path.abspath(first) != self.folder:
            self.problems.append("PYTHONPATH doesn't begin with %s" % self.folder)
        if rest:
            os.environ["PYTHONPATH"] = rest
        else:
            os.environ.pop("PYTHONPATH")

    def import_all(self, acts, output, run_the_users):
        """acts: `module`, `set` and `unset`, in their order"""
        recorder = AtExit(self.atexit)
        with Watch() as watch:
            # Before all else, as in a cold interpreter; what it does is never hidden.
            self.first = Entry("sitecustomize")
            outcome = self.within(self.first, run_the_users, output, watch, None)
            watch.writes.clear()
            self.known_cache = set(sys.path_importer_cache)
            for key, value in acts:
                self.repeat(key, os.fsdecode(value), output, watch, recorder)
        self.reads = watch.reads
        return outcome

    def repeat(self, key, text, output, watch, recorder):
        """Does beforehand what the script will do: an import, or a write to the environment before one."""
        if key == b"set":
            name, _, value = text.partition("=")
            os.environ[name] = value
            watch.writes.clear()
        elif key == b"unset":
            os.environ.pop(text, None)
            watch.writes.clear()
        elif key == b"module":
            why = checks.not_ours(text)
            if why:
                self.missing.append("%s: %s" % (text, why))
                return
            entry = Entry(text)
            error = self.within(entry, lambda: import_one(text), output, watch, recorder)
            if entry.modules:
                self.stash.entries.append(entry)
            if error is None:
                self.loaded.append(text)
            else:
                self.missing.append(one_line("%s: %s: %s" % (text, type(error).__name__, error)))

    def within(self, entry, act, output, watch, recorder):
        """Runs one import and records what it changed."""
        known = set(sys.modules)
        cache = set(sys.path_importer_cache)
        left = finalizers()
        lists = [(each, list(each)) for each in checks.lists()]
        entry.environment_before = dict(os.environ._data)
        watch.now = entry.reads
        output.begin()
        if recorder:
            recorder.begin()
        outcome = act()
        # A module that forks: its child must neither answer for us nor run the script.
        if os.getpid() != self.pid:
            os._exit(0)
        if recorder:
            entry.at_exit = recorder.end()
        entry.finalizers = {each: kept for each, kept in finalizers().items() if each not in left}
        entry.output = output.end()
        entry.environment, watch.writes = watch.writes, []
        entry.lists = [(each, was, list(each)) for each, was in lists if each != was]
        entry.path_cache = {key: sys.path_importer_cache[key] for key in set(sys.path_importer_cache) - cache}
        entry.modules = {name: module for name, module in list(sys.modules.items()) if name not in known}
        for name, module in entry.modules.items():
            parent, _, child = name.rpartition(".")
            if parent in known and parent in sys.modules:
                try:
                    if vars(sys.modules[parent]).get(child) is module:
                        entry.children.append((sys.modules[parent], child, module))
                except TypeError:
                    # Something that isn't a module has taken its place; nothing finds children there.
                    pass
        return outcome

    def files(self):
        """What has been loaded: modules, the libraries that came with them, and the interpreter."""
        modules = [module for entry in [self.first, *self.stash.entries] for module in entry.modules.values()]
        paths = [checks.path_of(module) for module in modules]
        return [each for each in paths if each] + [sys.executable, os.__file__] + checks.mapped()

    def take_order(self):
        order, descriptors = self.receive()
        try:
            environment = self.accept(order, descriptors)
        except Refused as refusal:
            self.send([(b"type", b"refused"), (b"why", one_line(str(refusal)))])
            os._exit(0)
        self.ordered = True
        for number, descriptor in zip(self.streams, descriptors):
            os.dup2(descriptor, number, inheritable=True)
            os.close(descriptor)
        if b"umask" in order:
            os.umask(int(order[b"umask"][0], 8))
        set_environment(environment)
        for name, value in self.first.environment:
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for descriptor, text in self.first.output.items():
            write_out(descriptor, text)
        self.stash.before_entry = Late(self.per_round).say
        self.stash.keep_own(self.known.union(self.first.modules))
        self.send([(b"type", b"started")])
        self.socket.close()

    def accept(self, order, descriptors):
        """The environment to set, where nothing tells this interpreter from a cold one."""
        if order.get(b"type") != [b"order"] or order.get(b"version") != [VERSION]:
            raise Refused("it knows version 1 of the protocol only")
        # Whoever gave the order before this one was parked didn't know.
        if self.problems:
            raise Refused(self.problems[0])
        self.streams = [int(each) for each in order.get(b"stream", ())]
        if len(self.streams) != len(descriptors):
            raise Refused("%d descriptors came for %d streams" % (len(descriptors), len(self.streams)))
        for number, descriptor in zip(self.streams, descriptors):
            if checks.kind(descriptor) != checks.kind(number):
                raise Refused("descriptor %d is of another kind than it was" % number)
        argv = [os.fsencode(each) for each in getattr(sys, "orig_argv", ())]
        # argv[0] is what the interpreter was called by.
        if argv and b"argv" in order and order[b"argv"][1:] != argv[1:]:
            raise Refused("the command line differs")
        if b"cwd" in order and not same_folder(order[b"cwd"][0]):
            raise Refused("the working directory differs")

        environment = []
        for each in order.get(b"env", ()):
            name, equals, value = each.partition(b"=")
            if not name or not equals or any(name == other for other, _ in environment):
                raise Refused("the environment has %s twice, or without a value" % os.fsdecode(name))
            environment.append((name, value))
        wanted = dict(environment)
        # Of an interpreter in the C locale: its own doing, which a cold one repeats.
        if b"LC_CTYPE" in self.found and b"LC_CTYPE" not in wanted:
            environment.append((b"LC_CTYPE", self.found[b"LC_CTYPE"]))
            wanted[b"LC_CTYPE"] = self.found[b"LC_CTYPE"]
        if wanted.get(b"PYTHONPATH") == b"" and b"PYTHONPATH" not in self.found:
            self.found[b"PYTHONPATH"] = b""
        self.compare(wanted)
        shadowed = checks.shadowed(sys.orig_argv if argv else ["", *sys.argv], self.stash.entries)
        if shadowed:
            raise Refused("%s stands before a module that is imported already" % shadowed)
        changed = checks.changed(self.marks)
        if changed:
            raise Refused("%s has changed since it was loaded" % changed)
        return environment

    def compare(self, wanted):
        for name in sorted(set(wanted) | set(self.found)):
            if wanted.get(name) == self.found.get(name):
                continue
            text = os.fsdecode(name)
            if text not in self.per_round:
                raise Refused("%s differs" % text)
            if text in self.reads:
                raise Refused("%s differs, and %s has read it while it was imported" % (text, self.reads[text]))

    def receive(self):
        """The next message's fields, key → values, and the descriptors that came along."""
        head, descriptors = self.receive_bytes(4, True)
        size = int.from_bytes(head, "little")
        if size > MAX_BYTES:
            raise ValueError("a message of %d bytes" % size)
        body, _ = self.receive_bytes(size, False)
        fields = {}
        self.pairs = []
        at = 0
        while at < size:
            pair = []
            for _ in range(2):
                end = at + 4 + int.from_bytes(body[at : at + 4], "little")
                if at + 4 > size or end > size:
                    raise ValueError("a message is cut off")
                pair.append(body[at + 4 : end])
                at = end
            fields.setdefault(pair[0], []).append(pair[1])
            self.pairs.append(tuple(pair))
        return fields, descriptors

    def receive_bytes(self, count, with_descriptors):
        import_size = 4
        text = b""
        descriptors = []
        while len(text) < count:
            if with_descriptors and not text:
                part, ancillary, _, _ = self.socket.recvmsg(count, 128)
                for _, _, data in ancillary:
                    for at in range(0, len(data) - len(data) % import_size, import_size):
                        descriptors.append(int.from_bytes(data[at : at + import_size], sys.byteorder))
            else:
                part = self.socket.recv(count - len(text))
            if not part:
                raise Gone()
            text += part
        return text, descriptors

    def send(self, fields):
        body = b""
        for pair in fields:
            for each in pair:
                text = each if isinstance(each, bytes) else each.encode("utf-8", "surrogateescape")
                body += len(text).to_bytes(4, "little") + text
        try:
            self.socket.sendall(len(body).to_bytes(4, "little") + body)
        except OSError:
            raise Gone()


# Modules that look through the whole environment for names of their own, and how these begin: other variables they haven't
# read. Of tqdm 4.70: utils.py, envwrap; of fsspec 2026.9: config.py, set_conf_env.
OWN_NAMES = {"tqdm.utils": "TQDM_", "fsspec.config": "FSSPEC"}


class Watch:
    """os.environ that records what imports read and write. Its class is another for as long, and nothing else of it."""

    def __init__(self):
        # Name → the module that read it first.
        self.reads = {}
        # What the current import has read.
        self.now = set()
        self.writes = []

    def __enter__(self):
        watch = self
        self.was = base = type(os.environ)

        class Watched(base):
            def __getitem__(self, key):
                if key not in watch.reads:
                    name = reader(sys._getframe(1))
                    if not str(key).startswith(OWN_NAMES.get(name, "")):
                        return base.__getitem__(self, key)
                    watch.reads[key] = name
                watch.now.add(key)
                return base.__getitem__(self, key)

            def __setitem__(self, key, value):
                base.__setitem__(self, key, value)
                watch.writes.append((key, value))

            def __delitem__(self, key):
                base.__delitem__(self, key)
                watch.writes.append((key, None))

        os.environ.__class__ = Watched
        return self

    def __exit__(self, *_):
        os.environ.__class__ = self.was


class AtExit:
    """Keeps what imports register, so that it's registered when the script imports the same."""

    def __init__(self, module):
        self.module = module
        self.calls = None

    def begin(self):
        self.calls = []
        self.register = self.module.register

        def register(function, *args, **kwargs):
            if self.calls is None:
                return self.register(function, *args, **kwargs)
            self.calls.append((function, args, kwargs))
            return function

        self.module.register = register

    def end(self):
        calls, self.calls = self.calls, None
        self.module.register = self.register
        return calls


class Output:
    """Descriptors 1 and 2 go to memory while modules are imported."""

    def __init__(self, base):
        self.files = {}
        for descriptor in (1, 2):
            try:
                os.dup2(descriptor, base + descriptor, inheritable=False)
            except OSError:
                # Closed, and stays so.
                continue
            memory = memory_file()
            os.dup2(memory, base + 2 + descriptor, inheritable=False)
            os.close(memory)
            os.dup2(base + 2 + descriptor, descriptor)
            self.files[descriptor] = (base + descriptor, base + 2 + descriptor)
        self.at = {}

    def begin(self):
        self.at = {descriptor: os.fstat(memory).st_size for descriptor, (_, memory) in self.files.items()}

    def end(self):
        flush()
        output = {}
        for descriptor, (_, memory) in self.files.items():
            size = os.fstat(memory).st_size - self.at[descriptor]
            if size > 0:
                output[descriptor] = os.pread(memory, size, self.at[descriptor])
        return output

    def close(self):
        flush()
        for descriptor, (saved, memory) in self.files.items():
            os.dup2(saved, descriptor)
            os.close(saved)
            os.close(memory)


class Late:
    """Says when a script changes a variable before an import that has happened already."""

    def __init__(self, per_round):
        self.per_round = per_round
        self.said = set()

    def say(self, entry):
        names = set(entry.reads)
        if any(checks.is_native(module) for module in entry.modules.values()):
            both = set(entry.environment_before) | set(os.environ._data)
            names.update(name for name in map(os.fsdecode, both) if name.startswith(READ_AT_LOAD))
        for name in sorted(names - self.said - self.per_round):
            was = entry.environment_before.get(os.fsencode(name))
            if was == os.environ._data.get(os.fsencode(name)):
                continue
            self.said.add(name)
            what = b"regroup: %s was changed before %s was imported, but a warm restart had imported it already: " % (
                os.fsencode(name),
                entry.name.encode(),
            )
            os.write(2, what + b"--standby=off keeps restarts cold\n")


def import_one(name):
    try:
        __import__(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def set_environment(pairs):
    os.environ.clear()
    for name, value in pairs:
        os.environ[os.fsdecode(name)] = os.fsdecode(value)


def reader(frame):
    """The module that asked for a variable, `os` itself left away."""
    while frame is not None and frame.f_globals.get("__name__") in ("os", "_collections_abc", "collections.abc", __name__):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "a module") if frame is not None else "a module"


def same_folder(path):
    try:
        return os.path.samestat(os.stat(path), os.stat(".")) and os.fsencode(os.getcwd()) == path
    except OSError:
        return False


def memory_file():
    if hasattr(os, "memfd_create"):
        return os.memfd_create("regroup-imports")
    # Fallback: an interpreter built for glibc < 2.27 has no memfd_create.
    return os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


def high_descriptor():
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (OSError, ValueError):
        limit = 256
    return max(min(limit, 1024) - 16, 16)


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except Exception:
            # An import has put something else there; it's no business of ours.
            pass


def one_line(text):
    return " ".join(text.split())
