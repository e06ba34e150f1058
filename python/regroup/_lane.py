"""What regroup.store is made of: the library, a lane to the server, and what goes through it.

The requests and replies are TCPStore's, in the dialect of PyTorch 2.2 and later: little-endian, a
string is its length in eight bytes, then its bytes.
"""
import ctypes
import errno
import os
import struct
import time

# Answers of native/core/shm/shm_reader.h and shm_client.h.
OK, NOT_FOUND, ASK_TCP, TOO_SMALL, TIMED_OUT, INTERRUPTED = range(6)
ESYSTEM, EFORMAT, EVERSION, EARGUMENT, ECLOSED, EFORKED, EUSER, EBROKEN = range(-1, -9, -1)

# While something sleeps: how often it looks whether it's still meant to.
LOOK_MS = 1000


class StoreError(OSError):
    """The store can't be used, or not that way. The text says what, where, and what to try."""


class StoreTimeoutError(StoreError, TimeoutError):
    """The time was over first. The client can be used further."""


class StoreClosedError(StoreError):
    """The server has gone, or has closed this client; its last writes may be lost."""


def error_of(answer, what, where, code=0):
    """The exception for an answer of the library that isn't among those that the caller knows."""
    if answer == ECLOSED:
        return StoreClosedError(
            "%s: the store at %s has gone or has closed this client, as it does after a request beyond "
            "its limits; the agent's log tells which" % (what, where)
        )
    if answer == TIMED_OUT:
        return StoreTimeoutError("%s: no answer from the store at %s in time" % (what, where))
    reasons = {
        ESYSTEM: os.strerror(code) if code else "a system call failed",
        EFORMAT: "what it gives isn't shared memory of a store",
        EVERSION: "it speaks another version of the format; take the library of the same package",
        EARGUMENT: "the library refuses an argument",
        EUSER: "it belongs to another user",
        EBROKEN: "an earlier call was given up halfway",
    }
    reason = reasons.get(answer, "unknown answer %d" % answer)
    return StoreError("%s: the store at %s: %s; TCP does the same" % (what, where, reason))


class Library:
    """The functions of regroup_shm.so. Those that may sleep let other threads run meanwhile."""

    def __init__(self, path):
        try:
            sleeping, quick = ctypes.CDLL(path, use_errno=True), ctypes.PyDLL(path)
        except OSError as error:
            raise StoreError("can't load %s: %s; TCP does the same" % (path, error)) from None

        def declare(library, name, result, *arguments):
            function = getattr(library, "regroup_shm_" + name)
            function.restype, function.argtypes = result, arguments
            return function

        at, size, ms, code = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_int
        text = (ctypes.c_char_p, size)
        value = (at, size, at)  # where, how much fits, its size
        self.connect = declare(sleeping, "connect", code, ctypes.c_char_p, ms, at)
        self.disconnect = declare(quick, "disconnect", None, at)
        self.reader = declare(quick, "client_reader", at, at)
        self.get = declare(quick, "get", code, at, *text, *value)
        self.client_get = declare(quick, "client_get", code, at, *text, *value, ms)
        self.wait = declare(sleeping, "wait", code, at, *text, *value, ms)
        self.set = declare(sleeping, "set", code, at, *text, *text, ms)
        self.add = declare(sleeping, "add", code, at, *text, ctypes.c_int64, at, ms)
        self.settle = declare(sleeping, "settle", code, at, ms)
        self.write = declare(sleeping, "write", code, at, at, size, at, ms)
        self.read = declare(sleeping, "read", code, at, at, size, at, ms)
        self.notice = declare(quick, "notice", ctypes.c_uint32, at)
        self.wait_notice = declare(sleeping, "wait_notice", code, at, ctypes.c_uint32, at, ms)
        self.beat = declare(
            quick, "beat", None, at, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint32
        )


class Buffers:
    """Where values arrive. One is taken for a call and put back after it, since a signal's handler may
    come in between and call the same client."""

    def __init__(self):
        self.free = []
        self.put = self.free.append

    def take(self, capacity=4096):
        """Its memory, that one's address, its capacity, then the value's size, that one's address."""
        try:
            buffer = self.free.pop()
            if buffer[2] >= capacity:
                return buffer
        except IndexError:
            pass
        memory, size = ctypes.create_string_buffer(capacity), ctypes.c_size_t(0)
        return memory, ctypes.addressof(memory), capacity, size, ctypes.addressof(size)


class Exchange:
    """A request and its reply, as far as they have come.

    An exception may fall between any two steps, so each step can be done again. The reply is `fixed`
    bytes, then so many strings: a number, or what a function makes of the first eight bytes.
    """

    def __init__(self, request, fixed=0, strings=0, waits=False):
        self.request, self.sent = request, ctypes.c_size_t(0)
        self.fixed, self.strings, self.waits = fixed, strings, waits
        self.reply = bytearray()
        # Where bytes arrive, how many have, how many will, and the reply's length before them.
        self.chunk = None
        self.parsed = (fixed, 0)  # bytes of the reply that are whole strings, and how many

    def missing(self):
        """How many bytes are still to come, at least; 0: it's whole."""
        if self.chunk:
            memory, got, size, before = self.chunk
            if got.value < size:
                return size - got.value
            if len(self.reply) == before:
                self.reply += memory.raw
        if len(self.reply) < self.fixed:
            return self.fixed - len(self.reply)
        strings = self.strings(self.number()) if callable(self.strings) else self.strings
        at, seen = self.parsed
        need = 8
        while seen < strings and at + 8 <= len(self.reply):
            need = 8 + struct.unpack_from("<Q", self.reply, at)[0]
            if at + need > len(self.reply):
                break
            at, seen, need = at + need, seen + 1, 8
        self.parsed = (at, seen)
        return 0 if seen == strings else at + need - len(self.reply) + 8 * (strings - seen - 1)

    def number(self):
        return struct.unpack_from("<q", self.reply)[0]

    def values(self):
        found, at = [], self.fixed
        while at < len(self.reply):
            end = at + 8 + struct.unpack_from("<Q", self.reply, at)[0]
            found.append(bytes(self.reply[at + 8 : end]))
            at = end
        return found


class Lane:
    """A connection of this process to the server.

    It's closed once nobody holds it: another thread may be asleep in its memory. For the same reason
    `client` and `reader` are always the last to be loaded before a call of the library, with no
    other call in between.
    """

    def __init__(self, library, name, timeout):
        self.library, self.where, self.pid = library, name, os.getpid()
        self.client, self.reader = ctypes.c_void_p(), None
        self.abandoned = False  # who sleeps in it is to leave
        deadline = time.monotonic() + timeout
        while True:
            left = ms_until(deadline)
            answer = library.connect(name.encode(), left, ctypes.byref(self.client))
            code = ctypes.get_errno()
            # A signal, and its handler had no objection.
            if answer != ESYSTEM or code != errno.EINTR or left == 0:
                break
        if answer == ESYSTEM and code == errno.ECONNREFUSED:
            raise StoreClosedError("connect: no store listens at %s; is the agent gone?" % name)
        if answer != OK:
            raise error_of(answer, "connect", name, code)
        self.reader = library.reader(self.client)

    def __del__(self):
        self.discard()

    def discard(self):
        client, self.client, self.reader = self.client, None, None
        if client:
            self.library.disconnect(client)

    def send(self, exchange, deadline):
        """False: the time is over."""
        size = len(exchange.request)
        begin = ctypes.cast(exchange.request, ctypes.c_void_p).value
        at, done = exchange.sent, ctypes.byref(exchange.sent)
        while at.value < size:
            sent, ms = at.value, slice_until(deadline)
            answer = self.library.write(self.client, begin + sent, size - sent, done, ms)
            if not self.goes_on(answer, deadline):
                return False
        return True

    def run(self, exchange, deadline):
        """False: the time is over."""
        if not self.send(exchange, deadline):
            return False
        while True:
            need = exchange.missing()
            if need == 0:
                return True
            chunk = exchange.chunk
            if not chunk or chunk[1].value == chunk[2]:
                memory = ctypes.create_string_buffer(need)
                chunk = exchange.chunk = (memory, ctypes.c_size_t(0), need, len(exchange.reply))
            memory, got, size, _ = chunk
            begin, at, ms = ctypes.addressof(memory), got.value, slice_until(deadline)
            done = ctypes.byref(got)
            answer = self.library.read(self.client, begin + at, size - at, done, ms)
            if not self.goes_on(answer, deadline):
                return False

    def settle(self, deadline):
        """Waits until what was written is applied. False: the time is over."""
        while True:
            ms = slice_until(deadline)
            answer = self.library.settle(self.client, ms)
            if answer == OK:
                return True
            if not self.goes_on(answer, deadline):
                return False

    def is_alive(self):
        """Nothing may be on its way."""
        byte, got = ctypes.create_string_buffer(1), ctypes.c_size_t(0)
        at, done = ctypes.byref(byte), ctypes.byref(got)
        # It looks after the server once it has slept.
        return self.library.read(self.client, at, 1, done, 1) != ECLOSED

    def goes_on(self, answer, deadline):
        if self.abandoned:
            raise StoreError("the client was closed meanwhile, by another thread")
        if answer == TIMED_OUT:
            return time.monotonic() < deadline
        if answer in (OK, INTERRUPTED):
            return True
        if self.client is None:
            raise StoreError("a signal's handler forked in the middle of this call; call again")
        raise error_of(answer, "lane", self.where, ctypes.get_errno())

    def finish(self, exchange, seconds):
        """Brings the lane back into step after an exchange that was broken off.

        @returns whether a wait was released after all
        """
        deadline = time.monotonic() + seconds
        if exchange.sent.value == 0:
            return False
        done = self.send(exchange, deadline)
        if done and exchange.waits and exchange.missing() > 0:
            cancel = Exchange(CANCEL_WAIT, 1)
            done = self.run(cancel, deadline)
            released = done and cancel.reply[0] == 0
            # The wait's own answer came first.
            done = done and (not released or self.run(Exchange(b"", 1), deadline))
        else:
            done = done and self.run(exchange, deadline)
            released = True
        if not done:
            raise error_of(TIMED_OUT, "lane", self.where)
        return released


CANCEL_WAIT = b"\x0c"


def ms_until(deadline):
    """Rounded up, since 0 doesn't wait; within what the library takes."""
    left = deadline - time.monotonic()
    return 0 if left <= 0 else min(int(left * 1000) + 1, 2**31)


def slice_until(deadline):
    return min(ms_until(deadline), LOOK_MS)
