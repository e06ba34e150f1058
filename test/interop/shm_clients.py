"""Clients of a store's shared memory, in threads, forks and numbers: `shm_clients.py CASE`."""

import os
import signal
import socket
import threading

from regroup.store import StoreClosedError, StoreError, StoreTimeoutError
from shm_harness import RANDOM, Broken, case, in_child, raises, run


@case
def forks(server):
    """A child has a lane of its own, and the parent's isn't disturbed; grandchildren, too."""
    client = server.client()
    client.set("key", "before")

    def child():
        assert client.get("key") == b"before"
        assert client.add("count", 1) > 0
        client.set(f"by {os.getpid()}", "x")
        assert client.get(f"by {os.getpid()}") == b"x"

    def child_with_children():
        child()
        assert in_child(child) == 0
        child()

    assert in_child(child_with_children) == 0
    assert client.add("count", 1) == 4
    assert server.stats()["lanes"] == 1

    # From a handler, in the middle of a wait: the child may leave it, or use the client.
    def fork(*_):
        assert in_child(child) == 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Broken

    signal.signal(signal.SIGALRM, fork)
    for wait in [lambda: client.get("missing"), lambda: client.queue_pop("queue")]:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        raises(Broken, wait)
        assert client.get("key") == b"before"
    assert client.add("count", 1) == 7


@case
def threads(server):
    client = server.client()
    failures = []

    def use(number):
        own = RANDOM.random
        try:
            for n in range(300):
                key = f"{number}/{n}"
                client.set(key, key)
                assert client.get(key) == key.encode()
                client.add("sum", 1)
                client.append("log", "x")
                client.multi_set([key + "a", key + "b"], ["1", "2" * 5000])
                assert client.multi_get([key + "a", key + "b"]) == [b"1", b"2" * 5000]
                client.queue_push("queue", key)
                assert client.queue_pop("queue") is not None
                assert client.compare_set(key, key, "done") == b"done"
                # The neighbour's, which may not be there yet: waits beside the others' calls.
                if own() < 0.1:
                    assert client.get(f"{(number + 1) % 8}/{n}", 20) is not None
                assert client.delete_key(key + "b")
        except BaseException as error:
            failures.append(f"thread {number}: {error!r}")

    running = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failures, failures
    assert client.add("sum", 0) == 8 * 300
    assert client.get("log") == b"x" * 8 * 300
    assert client.queue_len("queue") == 0


@case
def closed_by_another_thread(server):
    client = server.client()
    for wait in [lambda: client.get("missing"), lambda: client.barrier("barrier", 2)]:
        twin = client.clone()
        client, old = twin, client
        thread = threading.Timer(0.05, client.close)
        thread.start()
        assert "closed" in raises(StoreError, wait)
        thread.join()
        assert "closed" in raises(StoreError, lambda: client.get("missing"))
        client = old
    assert client.add("count", 1) == 1


@case
def reset_server(server):
    """T-093 a client of the table before is closed, and reads nothing of the next one."""
    old = server.client()
    old.set("key", "old")
    assert old.get("key") == b"old"
    server.tell("reset")
    new = server.client()
    new.set("key", "new")
    assert new.get("key") == b"new"
    raises(StoreClosedError, lambda: old.get("key"))
    raises(StoreClosedError, lambda: old.set("key", "old"))
    raises(StoreClosedError, lambda: old.try_get("key"))
    assert new.get("key") == b"new"


@case
def foreign_user(server):
    if os.getuid() != 0:
        return "not root, who alone can become somebody else"
    # The library is loaded: nobody else need be able to read it.
    server.client().close()

    def stranger():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        assert "another user" in raises(StoreError, server.client)
        with socket.socket(socket.AF_UNIX) as bare:
            bare.connect("\0" + server.name[1:])
            message, descriptors, _, _ = socket.recv_fds(bare, 100, 10)
            assert message == b"" and not descriptors

    assert in_child(stranger) == 0
    assert server.stats()["lanes"] == 0 and server.stats()["refused"] > 0


@case
def large_and_long(server):
    """What isn't mirrored is read over the lane: values from 1 MiB on, long keys."""
    client, other = server.client(), server.client()
    for size in [0, 1, 4095, 4097, 70_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20]:
        value = RANDOM.randbytes(size)
        client.set("key", value)
        assert client.get("key") == value
        # Not ordered with the write above but by asking its writer.
        assert other.try_get("key") == value
    for length in [0, 4096, 4097, 60_000]:
        key = b"\xff\0k" * (length // 3) + b"!" * (length % 3)
        assert client.try_get(key) is None or length == 0
        client.set(key, str(length))
        assert client.get(key) == str(length).encode() and client.check([key])
        assert other.get(key) == str(length).encode()


@case
def many_keys(server):
    """100,000 keys: more than the segment has room for."""
    client = server.client()
    keys = [f"key number {n}" for n in range(100_000)]
    for n in range(0, len(keys), 1000):
        client.multi_set(keys[n : n + 1000], [key + "!" * 80 for key in keys[n : n + 1000]])
    assert client.num_keys() == len(keys)
    assert sorted(client.list_keys()) == sorted(key.encode() for key in keys)
    assert client.check(keys) and not client.check(keys + ["missing"])
    for key in RANDOM.sample(keys, 3000):
        assert client.get(key) == (key + "!" * 80).encode()
    assert client.try_get("missing") is None
    assert client.multi_get(keys) == [(key + "!" * 80).encode() for key in keys]


@case
def notice_and_beats(server):
    client = server.client()
    assert client.notice() == 0
    raises(StoreTimeoutError, lambda: client.wait_notice(0, 0.01))
    thread = threading.Thread(target=server.tell, args=("notice 7",))
    thread.start()
    assert client.wait_notice(0) == 7 and client.notice() == 7
    thread.join()
    assert server.tell("slots") == "slots"
    client.beat(3, 1 << 40, 2)
    client.beat(3, (1 << 40) + 1, 5)
    assert server.tell("slots") == f"slots rank=3,beats=2,step={(1 << 40) + 1},phase=5"


run()
