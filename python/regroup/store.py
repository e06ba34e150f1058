"""A store's client over shared memory: `Client.connect()`.

Keys that exist are read without a system call, from memory that the server publishes. All else goes
through a lane, which is memory shared with the server too. Python 3.8 and newer, Linux, nothing but
the standard library.

Keys and values are str, which means UTF-8, or bytes; what comes back is bytes. Keys are TCPStore's:
its "loss" is "loss" here, and has a `/` in front of it at the server, and in errors. What has none, as
the `init/` that counts workers, isn't to be met.
Timeouts are in seconds; None is the client's own. Any call may raise StoreError, StoreClosedError once
the server is gone; one that waits, StoreTimeoutError. Ctrl-C ends any wait and leaves the client usable.
"""
import ctypes
import os
import struct

from regroup._calls import Calls
from regroup._lane import (
    ASK_TCP,
    ECLOSED,
    NOT_FOUND,
    OK,
    TOO_SMALL,
    Exchange,
    Library,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    slice_until,
)

__all__ = ["Client", "StoreClosedError", "StoreError", "StoreTimeoutError"]

# TCPStore's operations. Source: torch/csrc/distributed/c10d/TCPStoreBackend.hpp, v2.13.0
COMPARE_SET, GET, CHECK, WAIT, NUM_KEYS, DELETE_KEY, APPEND = (bytes([n]) for n in (2, 3, 5, 6, 7, 8, 9))
MULTI_GET, MULTI_SET, QUEUE_PUSH, QUEUE_POP, QUEUE_LEN = (bytes([n]) for n in (10, 11, 14, 15, 16))
LIST_KEYS, BARRIER = bytes([17]), bytes([18])

_libraries = {}


class Client(Calls):
    """One client of a store. Any number of threads may share it.

    Nobody is kept waiting by another thread that waits, for a key or at a barrier. A forked child gets a
    lane of its own at its first call.
    """

    @classmethod
    def connect(cls, name=None, library=None, timeout=300.0, count_as_worker=False):
        """Connects to a store of this machine and this user.

        name: the store's socket, "@regroup-store-…". Default: REGROUP_STORE of the environment
        library: the path of regroup_shm.so. Default: REGROUP_SHM
        timeout: of this call, and of those that get none
        count_as_worker: adds 1 to `init/`, as TCPStore does if it's given a world size
        """
        name = name or os.environ.get("REGROUP_STORE")
        library = library or os.environ.get("REGROUP_SHM")
        if not name or not library:
            missing = "REGROUP_SHM" if name else "REGROUP_STORE"
            raise StoreError("connect: %s isn't set: no shared memory is offered here; use TCP" % missing)
        if library not in _libraries:
            _libraries[library] = Library(library)
        client = cls(name, _libraries[library], timeout)
        client._connected()
        if count_as_worker:
            client._add(b"init/", 1)
        return client

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def clone(self):
        """Another client of the same store, with a lane of its own."""
        client = Client(self._name, self._library, self.timeout)
        client._connected()
        return client

    def close(self):
        """Closes the lane. Who waits in another thread gets a StoreError within a second."""
        self._closed = True
        for lane in list(self._lanes):
            lane.abandoned = True
        self._lane = None
        self._spare.clear()

    # Keys

    def get(self, key, timeout=None):
        """The key's value, once there's one."""
        key = b"/" + (key if type(key) is bytes else _bytes(key))
        length, lane = len(key), self._lane
        if lane is not None and not self._unsettled:
            buffer = memory, at, capacity, size, size_at = self._buffers.take()
            answer = self._read(lane.reader, key, length, at, capacity, size_at)
            if answer == OK:
                value = memory[: size.value]
                self._buffers.put(buffer)
                return value
            self._buffers.put(buffer)
        deadline = self._deadline(timeout)
        value = self._await(key, deadline)
        if value is None:
            self._ask_and_wait("get", WAIT + _list([key]), deadline)
            value = self._ask("get", Exchange(GET + _string(key), 0, 1), deadline).values()[0]
        return value

    def try_get(self, key, timeout=None):
        """The key's value, or None if there's none now."""
        key = _wire(key)
        deadline = self._deadline(timeout)
        answer, value = self._look_up(key, deadline)
        if answer == OK:
            return value
        if answer == NOT_FOUND:
            return None
        request = CHECK + _list([key]) + GET + _string(key)
        asked = self._ask("try_get", Exchange(request, 1, 1), deadline)
        return asked.values()[0] if asked.reply[0] == 0 else None

    def set(self, key, value, timeout=None):
        """Stores the value. Returns when the server has been told, which is before it's applied."""
        key, value = _wire(key), _bytes(value)
        sizes = len(key), len(value)

        def call(lane, ms):
            return self._library.set(lane.client, key, sizes[0], value, sizes[1], ms)

        self._call("set", call, timeout)

    def add(self, key, delta, timeout=None):
        """Adds to the key's number, which is 0 if there's none, and gives the sum."""
        return self._add(_wire(key), delta, timeout)

    def _add(self, key, delta, timeout=None):
        total = ctypes.c_int64(0)
        size, at = len(key), ctypes.byref(total)

        def call(lane, ms):
            return self._library.add(lane.client, key, size, delta, at, ms)

        self._call("add", call, timeout, replies=True)
        return total.value

    def compare_set(self, key, expected, desired, timeout=None):
        """Stores `desired` if the value is `expected`, or `expected` is empty and there's none.

        Gives the value that's there then; where there's none, `expected`.
        """
        request = COMPARE_SET + _string(_wire(key)) + _string(expected) + _string(desired)
        return self._reply("compare_set", request, timeout, strings=1).values()[0]

    def append(self, key, value, timeout=None):
        """Appends to the key's value. Returns as set does."""
        self._reply("append", APPEND + _string(_wire(key)) + _string(value), timeout)

    def delete_key(self, key, timeout=None):
        """Whether there was such a key, which now there isn't."""
        return self._reply("delete_key", DELETE_KEY + _string(_wire(key)), timeout, 8).number() == 1

    def check(self, keys, timeout=None):
        """Whether all of them exist."""
        return self._check(_keys(keys), timeout)

    def _check(self, names, timeout):
        deadline = self._deadline(timeout)
        for name in names:
            answer, _ = self._look_up(name, deadline, False)
            if answer == NOT_FOUND:
                return False
            if answer == ASK_TCP:
                return self._reply("check", CHECK + _list(names), timeout, 1).reply[0] == 0
        return True

    def wait(self, keys, timeout=None):
        """Returns once all of them exist."""
        self._wait(_keys(keys), timeout)

    def _wait(self, names, timeout):
        deadline = self._deadline(timeout)
        # Again, since the first may have gone while the last was waited for.
        while True:
            for name in names:
                if self._await(name, deadline, False) is None:
                    self._ask_and_wait("wait", WAIT + _list(names), deadline)
                    return
            if len(names) < 2 or self._check(names, timeout):
                return

    def multi_get(self, keys, timeout=None):
        """Their values, as they were at one moment, once all of them exist."""
        names, deadline = _keys(keys), self._deadline(timeout)
        self._wait(names, timeout)
        asked = Exchange(MULTI_GET + _list(names), 0, len(names))
        return self._ask("multi_get", asked, deadline).values()

    def multi_set(self, keys, values, timeout=None):
        """Stores all of them at one moment. Returns as set does."""
        keys, values = _keys(keys), list(values)
        if len(keys) != len(values):
            raise ValueError("multi_set: %d keys, but %d values" % (len(keys), len(values)))
        pairs = b"".join(_string(key) + _string(value) for key, value in zip(keys, values))
        self._reply("multi_set", MULTI_SET + struct.pack("<Q", len(keys)) + pairs, timeout)

    def num_keys(self, timeout=None):
        """How many keys the server has, `init/` among them."""
        return self._reply("num_keys", NUM_KEYS, timeout, 8).number()

    def list_keys(self, timeout=None):
        """All keys, in no order."""
        keys = self._reply("list_keys", LIST_KEYS, timeout, 8, int).values()
        return [key[1:] for key in keys if key[:1] == b"/"]

    # Queues, barriers

    def queue_push(self, key, value, timeout=None):
        """Puts the value at the queue's end. Returns as set does."""
        self._reply("queue_push", QUEUE_PUSH + _string(_wire(key)) + _string(value), timeout)

    def queue_pop(self, key, block=True, timeout=None):
        """Takes the first value off the queue. Of an empty one: waits, or gives None if not `block`."""
        key, deadline = _wire(key), self._deadline(timeout)
        while True:
            if block:
                self._ask_and_wait("queue_pop", WAIT + _list([key]), deadline)
            popped = Exchange(QUEUE_POP + _string(key), 8, lambda length: int(length > 0))
            values = self._ask("queue_pop", popped, deadline).values()
            # Another client may have been first.
            if values or not block:
                return values[0] if values else None

    def queue_len(self, key, timeout=None):
        """How many values there are in the queue."""
        return self._reply("queue_len", QUEUE_LEN + _string(_wire(key)), timeout, 8).number()

    def barrier(self, key, world_size, timeout=None):
        """Returns once so many have called it with this key. Who times out stays counted."""
        request = BARRIER + _string(_wire(key)) + struct.pack("<q", world_size)
        self._ask_and_wait("barrier", request, self._deadline(timeout))

    # The agent

    def notice(self):
        """The number that the agent tells all its workers; 0 until it has told one."""
        lane = self._lane or self._connected()
        return self._library.notice(lane.reader)

    def wait_notice(self, known, timeout=None):
        """That number, once it isn't `known`."""
        deadline, notice = self._deadline(timeout), ctypes.c_uint32(0)
        at = ctypes.byref(notice)
        while True:
            lane, ms = self._lane or self._connected(), slice_until(deadline)
            answer = self._library.wait_notice(lane.reader, known, at, ms)
            if answer == OK:
                return notice.value
            if answer == ASK_TCP:
                answer = ECLOSED
            self._sleep_on("wait_notice", lane, answer, deadline)

    def beat(self, rank, step, phase=0):
        """Tells whoever watches this worker that it lives and where it is. No system call."""
        lane = self._lane or self._connected()
        self._library.beat(lane.client, rank, step, phase)


def _bytes(text):
    if type(text) is bytes:
        return text
    return text.encode() if isinstance(text, str) else bytes(text)


def _wire(key):
    """As TCPStore does, so that nobody meets its internal keys."""
    return b"/" + _bytes(key)


def _keys(keys):
    return [_wire(key) for key in ([keys] if isinstance(keys, (str, bytes)) else keys)]


def _string(text):
    text = _bytes(text)
    return struct.pack("<Q", len(text)) + text


def _list(texts):
    return struct.pack("<Q", len(texts)) + b"".join(map(_string, texts))
