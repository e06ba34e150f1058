"""What all calls of a store's client have in common: its lane, the lock for it, and waiting."""
import ctypes
import os
import threading
import time
import weakref

from regroup._lane import (
    ASK_TCP,
    ECLOSED,
    INTERRUPTED,
    OK,
    TIMED_OUT,
    TOO_SMALL,
    Buffers,
    Exchange,
    Lane,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    error_of,
    ms_until,
    slice_until,
)

# What's left of a request or a reply when an exception comes is finished within this, in seconds.
_TIDY = 2.0

_clients = weakref.WeakSet()


class Calls:
    """Invariant: `_lane` is in step, or None, unless `_busy`. Whoever sends through it holds `_lock`."""

    def __init__(self, name, library, timeout):
        self.timeout = timeout
        self._name, self._library, self._read = name, library, library.get
        self._buffers = Buffers()
        self._reset()
        self._closed = self._gone = False
        _clients.add(self)

    def _reset(self):
        self._lane = None
        self._spare = []  # lanes that nobody uses, for waiting
        self._lanes = weakref.WeakSet()  # all of them
        self._lock = threading.RLock()
        self._unsettled = False  # what this client wrote may not be readable yet
        self._busy = False  # an exchange has begun

    def _forked(self):
        lanes = list(self._lanes)
        self._reset()
        for lane in lanes:
            lane.discard()

    def _deadline(self, timeout):
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def _connected(self, deadline=None):
        """The lane, made if there's none. Holding the lock, it's the caller's."""
        with self._lock:
            if self._closed:
                raise StoreError("the client of the store at %s is closed; connect another" % self._name)
            if self._gone:
                raise error_of(ECLOSED, "call", self._name)
            if self._lane is not None and self._lane.pid != os.getpid():
                self._forked()  # not by os.fork()
            if self._lane is None:
                self._lane = self._new_lane(self._deadline(None) if deadline is None else deadline)
            return self._lane

    def _settled(self, deadline):
        lane = self._lane
        if lane is not None and not self._unsettled:
            return lane
        with self._lock:
            lane = self._connected(deadline)
            if self._unsettled and not self._busy:
                if not lane.settle(deadline):
                    raise error_of(TIMED_OUT, "settle", self._name)
                self._unsettled = False
            return lane

    def _look_up(self, key, deadline, with_value=True):
        """OK and the value, or NOT_FOUND, ASK_TCP or, without the value, TOO_SMALL."""
        length = len(key)
        wanted = 4096
        while True:
            lane = self._settled(deadline)
            buffer = memory, at, capacity, size, size_at = self._buffers.take(wanted)
            if not with_value:
                capacity = 0
            answer = self._read(lane.reader, key, length, at, capacity, size_at)
            wanted = 2 * size.value if answer == TOO_SMALL else wanted
            value = memory[: size.value] if answer == OK else None
            self._buffers.put(buffer)
            if answer < 0:
                raise error_of(answer, "look-up", self._name)
            if answer != TOO_SMALL or not with_value:
                return answer, value

    def _await(self, key, deadline, with_value=True):
        """Sleeps until the key is there, and gives its value, or True. None: ask over the lane."""
        length = len(key)
        wanted = 4096
        while True:
            lane, ms = self._settled(deadline), slice_until(deadline)
            buffer = memory, at, capacity, size, size_at = self._buffers.take(wanted)
            if not with_value:
                capacity = 0
            answer = self._library.wait(lane.reader, key, length, at, capacity, size_at, ms)
            wanted = 2 * size.value if answer == TOO_SMALL else wanted
            value = memory[: size.value] if answer == OK else None
            self._buffers.put(buffer)
            if answer == ASK_TCP:
                return None
            if answer not in (OK, TOO_SMALL):
                self._sleep_on("waiting for %r" % key, lane, answer, deadline)
            elif not with_value:
                return True
            elif answer == OK:
                return value

    def _sleep_on(self, what, lane, answer, deadline):
        """Returns if the caller may sleep on."""
        if lane.abandoned:
            raise StoreError("%s: the client was closed meanwhile, by another thread" % what)
        if answer == INTERRUPTED or self._lane is not lane:
            return
        if answer != TIMED_OUT:
            raise self._failed(answer, what)
        if time.monotonic() >= deadline:
            raise error_of(answer, what, self._name)
        # Nobody wakes us if the server was killed. Who holds the lock looks by itself.
        if self._lock.acquire(blocking=False):
            try:
                if not self._busy and not lane.is_alive():
                    raise self._failed(ECLOSED, what)
            finally:
                self._lock.release()

    def _call(self, what, call, timeout, replies=False):
        """A call of the library that sends, and is done as a whole or breaks the lane."""
        deadline = self._deadline(timeout)
        with self._lock:
            lane = self._idle(what, deadline)
            ms, self._unsettled = ms_until(deadline), True
            answer = call(lane, ms)
            if answer == OK:
                self._unsettled = not replies
                return
            code = ctypes.get_errno()
            self._lane = None
            raise self._failed(answer, what, code)

    def _reply(self, what, request, timeout, fixed=0, strings=0):
        return self._ask(what, Exchange(request, fixed, strings), self._deadline(timeout))

    def _ask(self, what, exchange, deadline):
        with self._lock:
            lane = self._idle(what, deadline)
            self._busy = self._unsettled = True
            try:
                if not lane.run(exchange, deadline):
                    raise error_of(TIMED_OUT, what, self._name)
            except BaseException as error:
                current, self._lane = self._lane, None
                done = self._finish(lane, exchange, error)
                if done is not None:
                    self._lane = current
                if not done or not isinstance(error, StoreTimeoutError):
                    raise
            finally:
                self._busy = False
            if exchange.fixed or exchange.strings:
                self._unsettled = False
            return exchange

    def _ask_and_wait(self, what, request, deadline):
        """The same for what the server may answer late, over a lane of its own: nobody waits for us."""
        exchange = Exchange(request, 1, waits=True)
        self._settled(deadline)
        try:
            lane = self._spare.pop() if self._spare else self._new_lane(deadline)
        except (IndexError, StoreError):
            # None is left for us. Then as the others do it.
            return self._ask(what, exchange, deadline)
        in_step = False
        try:
            if not lane.run(exchange, deadline):
                raise error_of(TIMED_OUT, what, self._name)
            in_step = True
        except BaseException as error:
            released = self._finish(lane, exchange, error)
            in_step = released is not None
            if not released or not isinstance(error, StoreTimeoutError):
                raise
        finally:
            if in_step and not self._closed:
                self._spare.append(lane)
        return exchange

    def _new_lane(self, deadline):
        lane = Lane(self._library, self._name, deadline - time.monotonic())
        self._lanes.add(lane)
        return lane

    def _idle(self, what, deadline):
        if self._busy:
            raise StoreError("%s: called by a signal's handler, in the middle of another call" % what)
        return self._connected(deadline)

    def _finish(self, lane, exchange, error):
        """Whether what was asked for is done after all. None: the lane isn't in step, and useless."""
        self._gone = self._gone or isinstance(error, StoreClosedError)
        # Without its memory: we're in a fork that a signal's handler made.
        if self._gone or self._closed or lane.client is None:
            return None
        try:
            return lane.finish(exchange, _TIDY)
        except StoreError as failure:
            self._gone = isinstance(failure, StoreClosedError)
            return None

    def _failed(self, answer, what, code=0):
        # Not connected again: it may be the next attempt's store by now.
        self._gone = self._gone or answer == ECLOSED
        return error_of(answer, what, self._name, code)


def _after_fork():
    for client in list(_clients):
        client._forked()


os.register_at_fork(after_in_child=_after_fork)
