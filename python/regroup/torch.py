"""PyTorch's store interface over a store's shared memory. Opt-in:

    dist.init_process_group("gloo", store=connect_store(), rank=…, world_size=…)

PyTorch 1.13 and newer. Keys are TCPStore's, so that ranks on other machines, which use TCP, meet the
same ones.
"""
import datetime
import functools
import logging
import os

import torch.distributed as dist
from regroup.store import Client, StoreClosedError, StoreError, StoreTimeoutError

__all__ = ["SharedMemoryStore", "connect_store"]

log = logging.getLogger("regroup")

# What TCPStore raises. Source: torch/__init__.py and torch/distributed/__init__.py, v2.13.0; 1.13 has
# RuntimeError for all.
_DistStoreError = getattr(dist, "DistStoreError", RuntimeError)
_DistNetworkError = getattr(dist, "DistNetworkError", RuntimeError)
_QueueEmptyError = getattr(dist, "QueueEmptyError", _DistStoreError)

# C++ holds stores by their C++ half only: without the Python half, the methods below would be gone.
_kept = set()

_DEFAULT_TIMEOUT = datetime.timedelta(seconds=300)


def connect_store(timeout=_DEFAULT_TIMEOUT):
    """The store that the launcher serves: over shared memory if it can be, else over TCP.

    From the environment: REGROUP_STORE and REGROUP_SHM, else MASTER_ADDR and MASTER_PORT, as torch's
    `env://` takes them. What's wrong with shared memory is said to the logger `regroup`, at level info.

    timeout: a timedelta, of connecting and of what waits
    """
    try:
        return SharedMemoryStore(timeout=timeout)
    except StoreError as error:
        log.info("the store is used over TCP: %s", error)
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=not served and os.environ.get("RANK") == "0",
        timeout=timeout,
        wait_for_workers=False,
    )


def _as_torch(method):
    """Raises what TCPStore would."""

    @functools.wraps(method)
    def call(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except StoreTimeoutError as error:
            raise _DistStoreError(str(error)) from error
        except StoreClosedError as error:
            raise _DistNetworkError(str(error)) from error
        except StoreError as error:
            raise _DistStoreError(str(error)) from error

    return call


class SharedMemoryStore(dist.Store):
    """A torch.distributed.Store at `name`, by default the launcher's; see regroup.store.Client.

    It lives until close() or the process's end. A TCPStore's operations, errors and timeouts, save that
    threads can wait for keys at the same time.

    timeout: a timedelta, of connecting and of what waits; set_timeout changes it
    world_size: given, the store counts this client among its workers, as TCPStore's does
    """

    # Names in camelCase are those that the C++ half looks for.
    # Source: torch/csrc/distributed/c10d/init.cpp, PythonStore, v1.13.1 to v2.13.0

    def __init__(self, name=None, library=None, timeout=_DEFAULT_TIMEOUT, world_size=None):
        super().__init__()
        self.set_timeout(timeout)
        counts = world_size is not None
        self._client = Client.connect(name, library, timeout.total_seconds(), count_as_worker=counts)
        _kept.add(self)

    def close(self):
        """Closes the connection. No process group may use the store any more."""
        _kept.discard(self)
        self._client.close()

    def _seconds(self, timeout=None):
        return (self.timeout if timeout is None else timeout).total_seconds()

    @_as_torch
    def clone(self):
        twin = SharedMemoryStore.__new__(SharedMemoryStore)
        dist.Store.__init__(twin)
        twin.set_timeout(self.timeout)
        twin._client = self._client.clone()
        _kept.add(twin)
        return twin

    @_as_torch
    def get(self, key):
        return self._client.get(key, self._seconds())

    @_as_torch
    def set(self, key, value):
        self._client.set(key, value, self._seconds())

    @_as_torch
    def add(self, key, value):
        return self._client.add(key, value, self._seconds())

    @_as_torch
    def compare_set(self, key, expected, desired):
        return self._client.compare_set(key, expected, desired, self._seconds())

    @_as_torch
    def append(self, key, value):
        self._client.append(key, value, self._seconds())

    @_as_torch
    def delete_key(self, key):
        return self._client.delete_key(key, self._seconds())

    @_as_torch
    def num_keys(self):
        return self._client.num_keys(self._seconds())

    @_as_torch
    def check(self, keys):
        return self._client.check(keys, self._seconds())

    @_as_torch
    def wait(self, keys, timeout=None):
        self._client.wait(keys, self._seconds(timeout))

    @_as_torch
    def multi_get(self, keys):
        return self._client.multi_get(keys, self._seconds())

    @_as_torch
    def multi_set(self, keys, values):
        self._client.multi_set(keys, values, self._seconds())

    @_as_torch
    def list_keys(self):
        return [key.decode() for key in self._client.list_keys(self._seconds())]

    @_as_torch
    def queue_push(self, key, value):
        self._client.queue_push(key, value, self._seconds())

    @_as_torch
    def queue_pop(self, key, block=True):
        """The queue's first value. If it's empty: waits, or raises QueueEmptyError if not `block`."""
        value = self._client.queue_pop(key, block, self._seconds())
        if value is None:
            raise _QueueEmptyError("queue is empty: %s" % key)
        return value

    @_as_torch
    def queue_len(self, key):
        return self._client.queue_len(key, self._seconds())

    @_as_torch
    def barrier(self, key, world_size, timeout=None):
        self._client.barrier(key, world_size, self._seconds(timeout))

    def has_extended_api(self):
        return True

    compareSet, deleteKey, getNumKeys = compare_set, delete_key, num_keys
    multiGet, multiSet, hasExtendedApi, listKeys = multi_get, multi_set, has_extended_api, list_keys
    queuePush, queuePop, queueLen = queue_push, queue_pop, queue_len
