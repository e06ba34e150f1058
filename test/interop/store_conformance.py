"""What PyTorch's own client sees at a store, case by case, as one JSON object.

`store_conformance.py own|HOST:PORT|@NAME [CASE...]`: at PyTorch's server of this release, or at a server that's
already there, with an empty table; `@NAME` is one of ours, over its shared memory. Runs on torch 1.13 and later; a case that this release's client can't ask
for is `absent`. Two servers are alike if what's printed is the same.
"""

import base64
import datetime
import hashlib
import json
import os
import sys
import threading
import time

import torch.distributed as dist

if sys.argv[1].startswith("@"):
    from regroup.torch import SharedMemoryStore

# 1.13 counts whole seconds while it connects.
SHORT = datetime.timedelta(seconds=1)
LONG = datetime.timedelta(seconds=10)
# For a wait to be at the server, of which nothing tells. Most cases are alike if it comes late.
SOON_S = 0.1
# Where they aren't, on a machine that's busy.
SURELY_S = 0.6
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Site:
    """Where a case finds its server, and keys of its own there."""

    def __init__(self, where, name):
        self.where, self.name = where, name

    def client(self, timeout=LONG):
        if self.where.startswith("@"):
            return SharedMemoryStore(self.where, timeout=timeout)
        host, port = self.where.rsplit(":", 1)
        return dist.TCPStore(host, int(port), is_master=False, timeout=timeout, wait_for_workers=False)

    def worker(self, world_size):
        if self.where.startswith("@"):
            return SharedMemoryStore(self.where, timeout=LONG, world_size=world_size)
        host, port = self.where.rsplit(":", 1)
        return dist.TCPStore(host, int(port), world_size, False, LONG)

    def key(self, name):
        return f"{self.name}/{name}"


def shown(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() if len(value) < 100 else [len(value), hash_of(value)]
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return value


def hash_of(value):
    return hashlib.sha256(value).hexdigest()


def outcome(action):
    """What it gives, or the kind of its error: texts have addresses in them."""
    try:
        return shown(action())
    except Absent:
        raise
    except Exception as error:
        return f"raises {type(error).__name__}"


def at_once(actions, meanwhile=lambda: None):
    """Does all of them in threads of their own; their outcomes, as they come."""
    seen = []
    threads = [threading.Thread(target=lambda a=action: seen.append(outcome(a))) for action in actions]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    return seen


def later(action, after_s=SOON_S):
    """Does it in a while, in another thread; the result has `join`."""

    def wait_and_do():
        time.sleep(after_s)
        action()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    return thread


class Absent(Exception):
    pass


def need(store, *methods):
    for method in methods:
        if not hasattr(store, method):
            raise Absent(method)


@case
def set_get(site):
    store = site.client()
    values = ["plain", b"\x00\xff\x00", "", "é", b"x" * 70000]
    seen = []
    for index, value in enumerate(values):
        store.set(site.key(str(index)), value)
        seen.append(store.get(site.key(str(index))))
    store.set(site.key("0"), "again")
    return seen + [store.get(site.key("0"))]


@case
def odd_keys(site):
    store = site.client()
    keys = ["nul\0within", " blank ", "//double//slash", "ünïcode", "k" * 4000, "new\nline"]
    for index, key in enumerate(keys):
        store.set(site.key(key), str(index))
    return [store.get(site.key(key)) for key in keys]


@case
def empty_key(site):
    store = dist.PrefixStore(site.name, site.client())
    store.set("", "nothing before it")
    return store.get("")


@case
def get_of_a_missing_key(site):
    return outcome(lambda: site.client(SHORT).get(site.key("missing")))


@case
def add(site):
    store = site.client()
    key = site.key("count")
    seen = [store.add(key, 0), store.add(key, 5), store.add(key, -7), store.get(key)]
    store.set(key, "12abc")
    seen.append(store.add(key, 1))
    store.set(key, " 41")
    seen.append(store.add(key, 1))
    store.set(key, "-3")
    return seen + [store.add(key, -4), store.get(key)]


@case
def add_wraps(site):
    store = site.client()
    key = site.key("count")
    store.set(key, str(2**63 - 1))
    return [outcome(lambda: store.add(key, 1)), outcome(lambda: site.client(SHORT).get(key))]


@case
def add_to_what_is_no_number(site):
    key = site.key("count")
    site.client().set(key, "many")
    return [outcome(lambda: site.client(SHORT).add(key, 1)), outcome(lambda: site.client(SHORT).get(key))]


@case
def compare_set(site):
    store = site.client()
    need(store, "compare_set")
    key = site.key("value")
    return [
        shown(store.compare_set(site.key("missing"), "expected", "new")),
        outcome(lambda: site.client(SHORT).get(site.key("missing"))),
        shown(store.compare_set(key, "", "first")),
        shown(store.compare_set(key, "wrong", "second")),
        shown(store.compare_set(key, "first", "second")),
        shown(store.get(key)),
        shown(store.compare_set(key, "", "third")),
    ]


@case
def check(site):
    store = site.client()
    need(store, "check")
    store.set(site.key("a"), "1")
    store.set(site.key("b"), "1")
    a, b, c = (site.key(name) for name in "abc")
    return [store.check([a]), store.check([a, b]), store.check([a, c]), store.check([])]


@case
def wait_for_present_keys(site):
    store = site.client()
    store.set(site.key("a"), "1")
    a = site.key("a")
    return [outcome(lambda: store.wait([a], SHORT)), outcome(lambda: store.wait([a, a], SHORT)), outcome(lambda: store.wait([], SHORT))]


@case
def wait_times_out(site):
    store = site.client()
    store.set(site.key("a"), "1")
    return outcome(lambda: store.wait([site.key("a"), site.key("missing")], SHORT))


@case
def client_after_a_timeout(site):
    """The newest client goes on; what the key's late arrival causes mustn't confuse it."""
    store, other = site.client(), site.client()
    first = outcome(lambda: store.wait([site.key("late")], SHORT))
    if not hasattr(store, "append"):
        raise Absent("1.13's client is out of step with its own server after a timeout")
    other.set(site.key("late"), "1")
    other.set(site.key("more"), "2")
    return [first, shown(store.get(site.key("late"))), shown(store.get(site.key("more"))), store.add(site.key("n"), 3)]


def woken_by(site, action, after_s=SOON_S):
    store, other = site.client(), site.client()
    key = "awaited"
    thread = later(lambda: action(other, site.key(key)), after_s)
    seen = outcome(lambda: store.wait([site.key(key)], LONG))
    thread.join()
    return [seen, outcome(lambda: site.client(SHORT).get(site.key(key)))]


@case
def wait_woken_by_set(site):
    return woken_by(site, lambda store, key: store.set(key, "1"))


@case
def wait_woken_by_an_empty_set(site):
    return woken_by(site, lambda store, key: store.set(key, ""))


@case
def wait_woken_by_add(site):
    return woken_by(site, lambda store, key: store.add(key, 1))


@case
def wait_woken_by_compare_set(site):
    return woken_by(site, lambda store, key: store.compare_set(key, "", "1"), SURELY_S)


@case
def wait_woken_by_append(site):
    need(site.client(), "append")
    return woken_by(site, lambda store, key: store.append(key, "1"))


@case
def wait_woken_by_multi_set(site):
    need(site.client(), "multi_set")
    return woken_by(site, lambda store, key: store.multi_set([key + "/other", key], ["0", "1"]))


@case
def wait_not_woken_by_a_failed_compare_set(site):
    store, other = site.client(), site.client()
    key = site.key("awaited")
    thread = later(lambda: other.compare_set(key, "expected", "1"), SURELY_S)
    seen = outcome(lambda: store.wait([key], datetime.timedelta(seconds=4)))
    thread.join()
    return seen


@case
def wait_for_several_late_keys(site):
    store, other = site.client(), site.client()
    keys = [site.key(str(n)) for n in range(5)]

    def set_all():
        for key in reversed(keys):
            other.set(key, "1")

    thread = later(set_all)
    seen = outcome(lambda: store.wait(keys, LONG))
    thread.join()
    return seen


@case
def several_waiters_of_one_key(site):
    clients = [site.client() for _ in range(8)]

    def release():
        time.sleep(0.1)
        site.client().set(site.key("key"), "for all")

    return at_once([lambda c=c: c.get(site.key("key")) for c in clients], release)


@case
def waiter_that_leaves(site):
    store = site.client()
    outcome(lambda: store.wait([site.key("key")], SHORT))
    del store
    other = site.client()
    other.set(site.key("key"), "1")
    return shown(other.get(site.key("key")))


@case
def append(site):
    store = site.client()
    need(store, "append")
    for part in ["one", b"\x00", "", "two"]:
        store.append(site.key("log"), part)
    return shown(store.get(site.key("log")))


@case
def multi_get_and_set(site):
    store = site.client()
    need(store, "multi_get", "multi_set")
    keys = [site.key(str(n)) for n in range(50)]
    store.multi_set(keys, [f"value {n}" * n for n in range(50)])
    return [shown(store.multi_get(keys)), shown(store.multi_get([])), shown(store.multi_get([keys[3], keys[3]]))]


@case
def multi_get_of_a_missing_key(site):
    store = site.client(SHORT)
    need(store, "multi_get")
    store.set(site.key("a"), "1")
    return outcome(lambda: store.multi_get([site.key("a"), site.key("missing")]))


@case
def queues(site):
    store = site.client()
    need(store, "queue_push")
    key = site.key("queue")
    seen = [store.queue_len(key)]
    for item in ["first", b"", b"\x00\x01"]:
        store.queue_push(key, item)
    seen.append(store.queue_len(key))
    seen += [shown(store.queue_pop(key)) for _ in range(3)]
    return seen + [store.queue_len(key), store.check([key])]


@case
def queue_pop_without_waiting(site):
    store = site.client()
    need(store, "queue_push")
    if "block" not in (store.queue_pop.__doc__ or ""):
        raise Absent("block")
    return outcome(lambda: store.queue_pop(site.key("queue"), block=False))


@case
def queue_pop_times_out(site):
    store = site.client(SHORT)
    need(store, "queue_push")
    return outcome(lambda: store.queue_pop(site.key("queue")))


@case
def queue_pop_waits(site):
    store, other = site.client(), site.client()
    need(store, "queue_push")
    thread = later(lambda: other.queue_push(site.key("queue"), "item"))
    seen = outcome(lambda: store.queue_pop(site.key("queue")))
    thread.join()
    return seen


@case
def queues_and_keys(site):
    """A queue counts as present, and isn't a key."""
    store = site.client()
    need(store, "queue_push")
    before = store.num_keys()
    store.queue_push(site.key("queue"), "item")
    return [store.check([site.key("queue")]), store.num_keys() - before, store.delete_key(site.key("queue")), store.queue_len(site.key("queue"))]


@case
def delete_and_count(site):
    store = site.client()
    before = store.num_keys()
    store.set(site.key("a"), "1")
    store.add(site.key("b"), 1)
    with_two = store.num_keys() - before
    deleted = [store.delete_key(site.key("a")), store.delete_key(site.key("a"))]
    return [with_two, deleted, store.num_keys() - before, outcome(lambda: site.client(SHORT).get(site.key("a")))]


@case
def list_keys(site):
    store = site.client()
    need(store, "list_keys")
    for name in ["a", "b", "c"]:
        store.set(site.key(name), "1")
    store.delete_key(site.key("b"))
    return sorted(key for key in store.list_keys() if site.name + "/" in key)


@case
def prefixes(site):
    store = site.client()
    inner = dist.PrefixStore("inner", dist.PrefixStore(site.key("outer"), store))
    inner.set("key", "value")
    inner.add("count", 2)
    return [
        shown(inner.get("key")),
        shown(store.get(site.key("outer/inner/key"))),
        shown(store.get(site.key("outer/inner/count"))),
        inner.delete_key("key"),
        outcome(lambda: dist.PrefixStore(site.key("outer"), site.client(SHORT)).get("inner/key")),
    ]


@case
def prefixes_of_extended_operations(site):
    store = site.client()
    need(store, "append", "multi_set", "check")
    prefixed = dist.PrefixStore(site.name, store)
    prefixed.append("log", "a")
    prefixed.multi_set(["x", "y"], ["1", "2"])
    return [shown(prefixed.multi_get(["x", "y", "log"])), prefixed.check(["x", "nope"]), shown(store.get(site.key("log")))]


@case
def large_values(site):
    store = site.client()
    seen = []
    for size in [1 << 16, 1 << 20, (8 << 20) - 1, 8 << 20]:
        store.set(site.key("large"), bytes([size % 251]) * size)
        seen.append(shown(store.get(site.key("large"))))
    return seen


@case
def too_large_value(site):
    """Whoever exceeds the limit loses the connection; the others don't notice."""
    other = site.client()
    other.set(site.key("kept"), "1")

    def exceed():
        # Where there's no limit, 300 MiB take their time.
        store = site.client(datetime.timedelta(seconds=60))
        store.set(site.key("huge"), b"x" * (300 << 20))
        return len(store.get(site.key("huge")))

    return [outcome(exceed), shown(other.get(site.key("kept")))]


@case
def many_clients(site):
    clients = [site.client() for _ in range(32)]

    def use(store):
        for _ in range(10):
            store.add(site.key("sum"), 1)

    at_once([lambda s=store: use(s) for store in clients])
    return shown(site.client().get(site.key("sum")))


@case
def clone(site):
    store = site.client()
    need(store, "clone")
    twin = store.clone()
    twin.set(site.key("a"), "by the twin")
    return shown(store.get(site.key("a")))


@case
def barrier_of_a_store(site):
    clients = [site.client() for _ in range(4)]
    need(clients[0], "barrier")
    return at_once([lambda c=c: c.barrier(site.key("barrier"), 4, LONG) for c in clients])


@case
def workers_wait_for_each_other(site):
    """`world_size` with `wait_for_workers`, from which clients count themselves in."""
    # Whoever asks counts in the one counter of a table, so that this case must be the only one to do so.
    return at_once([lambda: isinstance(site.worker(3), dist.Store)] * 3)


def main():
    where = sys.argv[1]
    if where == "own":
        server = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=LONG, wait_for_workers=False)
        where = f"127.0.0.1:{server.port}"

    only = sys.argv[2:] or CASES
    results = {}
    for name in only:
        try:
            results[name] = outcome(lambda: CASES[name](Site(where, name)))
        except Absent as reason:
            results[name] = f"absent: {reason}"
    print(json.dumps(results), flush=True)
    # Its destructors may wait for threads of abandoned waits.
    os._exit(0)


main()
