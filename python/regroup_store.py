"""regroup.store, by the name of a module of its own."""
from regroup.store import Client, StoreClosedError, StoreError, StoreTimeoutError

__all__ = ["Client", "StoreClosedError", "StoreError", "StoreTimeoutError"]
