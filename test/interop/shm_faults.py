"""Clients of a store's shared memory when signals come or somebody dies: `shm_faults.py CASE`."""

import os
import signal
import threading
import time

from regroup.store import StoreClosedError, StoreError, StoreTimeoutError
from shm_harness import RANDOM, Broken, case, fork, raises, run, signals


@case
def signals_in_a_wait(server):
    """Handlers run while a call waits, and it goes on; if one raises, the client is usable afterwards."""
    client = server.client()
    client.set("present", "1")
    waits = {
        "get": lambda: client.get("missing"),
        "get over the lane": lambda: client.get("k" * 5000),
        "wait": lambda: client.wait(["present", "missing"]),
        "multi_get": lambda: client.multi_get(["present", "missing"]),
        "queue_pop": lambda: client.queue_pop("queue"),
        "barrier": lambda: client.barrier("barrier", 99),
        "wait_notice": lambda: client.wait_notice(0),
    }
    for count, (name, wait) in enumerate(waits.items(), 1):
        with signals(every=0.03, after=3) as seen:
            raises(Broken, wait)
        assert len(seen) == 3, (name, seen)
        assert client.add("count", 1) == count, name
        assert client.get("present") == b"1", name
    assert server.stats()["waiters"] == 0
    # One for what's answered at once, one for what waits.
    assert server.stats()["accepted"] == 2, "it was never connected anew"


@case
def ctrl_c(server):
    client = server.client()
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    raises(KeyboardInterrupt, lambda: client.get("missing"))
    assert client.add("count", 1) == 1


def interrupted(action, every):
    with signals(every, after=1):
        action()


@case
def signals_at_any_instant(server):
    """Whatever instruction a handler raises at, what comes next reads the right answers."""
    client, other = server.client(), server.client()
    large = b"x" * 300_000
    client.set("large", large)
    keys = [f"key {n}" for n in range(50)]
    client.multi_set(keys, keys)

    def use():
        for n in range(10_000):
            assert client.multi_get(keys) == [key.encode() for key in keys]
            client.add("count", 1)
            assert client.compare_set("swapped", "", "s") == b"s"
            client.set(f"own {n % 7}", str(n))
            assert client.get(f"own {n % 7}") == str(n).encode()
            client.append("log", "y")
            assert client.try_get("nothing") is None
            assert client.check(["large", "swapped"])
            if n % 5 == 0:
                assert client.get("k" * 5000, 0.0) if client.check(["k" * 5000]) else True
            if n % 8 == 0:
                assert client.get("large") == large
        raise AssertionError("no signal came")

    for n in range(400):
        # Outside of both: it may come before `use` has begun.
        raises(Broken, lambda: interrupted(use, every=RANDOM.uniform(20e-6, 3e-3)))
        assert client.get("large") == large
        client.set("round", str(n))
        assert client.get("round") == str(n).encode() and client.queue_len("none") == 0
        assert other.get("round", 20) == str(n).encode()
    before = client.add("count", 0)
    assert client.add("count", 1) == before + 1


@case
def signals_that_use_the_store(server):
    """A handler may read; it's refused only what would come between a request and its reply."""
    client = server.client()
    client.set("a", "for the handler")
    client.set("b", "for the others")
    seen = {"read": 0, "refused": 0}

    def handle(*_):
        assert client.get("a") == b"for the handler"
        seen["read"] += 1
        try:
            client.add("handled", 1)
        except StoreError as error:
            assert "signal" in str(error), error
            seen["refused"] += 1
        # A timer that runs on would interrupt a slow handler, and that one's handler, without end.
        signal.setitimer(signal.ITIMER_REAL, 300e-6)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 300e-6)
    for n in range(3000):
        assert client.get("b") == b"for the others"
        assert client.add("count", 1) == n + 1
        assert client.delete_key("no such key") is False
    # A handler that runs just now would set the timer again.
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert seen["read"] > 0
    assert client.add("handled", 0) == seen["read"] - seen["refused"]


@case
def killed_clients(server):
    """500 clients die at random instants; who goes on reads whole values, and the server keeps nothing."""

    def victim():
        client = server.client()
        while True:
            value = bytes([RANDOM.randrange(256)]) * RANDOM.choice([1, 100, 5000, 200_000])
            client.set(f"shared {RANDOM.randrange(4)}", value)
            client.add("sum", 1)
            client.queue_push("queue", b"q")
            client.queue_pop("queue", block=False)
            client.multi_get(["mine", "sum"])
            if RANDOM.random() < 0.2:
                wait = RANDOM.choice([lambda: client.get("missing", 0.001), lambda: client.barrier("never", 1 << 40, 0.001)])
                raises(StoreTimeoutError, wait)

    def check():
        client, count = server.client(), 0
        while client.try_get("over") is None:
            count += 1
            client.set("mine", str(count))
            assert client.get("mine") == str(count).encode()
            for n in range(4):
                value = client.try_get(f"shared {n}")
                assert not value or value == value[:1] * len(value)
            assert client.add("mine", 0) == count
        assert count > 500

    client = server.client()
    client.set("mine", "0")
    checker = fork(check)
    victims = [fork_victim(victim, seed) for seed in range(2)]
    for seed in range(498):
        time.sleep(RANDOM.uniform(0, 0.01))
        kill(victims.pop(RANDOM.randrange(len(victims))))
        victims.append(fork_victim(victim, 2 + seed))
    while victims:
        kill(victims.pop())
    client.set("over", "1")
    assert os.waitpid(checker, 0)[1] == 0, "a check failed"
    stats = server.stats()
    assert stats["lanes"] == 1 and stats["clients"] == 1 and stats["waiters"] == 0, stats
    assert stats["SET"] > 500 and client.get("sum") is not None, stats


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it was gone already"


def fork_victim(victim, seed):
    def run_victim():
        RANDOM.seed(seed)
        victim()

    return fork(run_victim)


@case
def killed_server(server):
    """Whoever waits gets an error within seconds, and so does whoever comes later."""
    waits = [
        lambda client: client.get("missing"),
        lambda client: client.wait(["missing"]),
        lambda client: client.get("k" * 5000),
        lambda client: client.barrier("barrier", 99),
        lambda client: client.wait_notice(0),
    ]
    clients = [server.client(timeout=300) for _ in waits]
    texts = []

    def wait(action, client):
        texts.append(raises(StoreClosedError, lambda: action(client)))

    running = [threading.Thread(target=wait, args=pair) for pair in zip(waits, clients)]
    for thread in running:
        thread.start()
    server.stats()
    server.process.kill()
    server.process.wait()
    for thread in running:
        thread.join(10)
    assert len(texts) == len(waits), texts
    raises(StoreClosedError, lambda: clients[0].set("key", "value"))
    raises(StoreClosedError, lambda: clients[0].get("missing"))
    raises(StoreClosedError, lambda: clients[0].clone())


run()
