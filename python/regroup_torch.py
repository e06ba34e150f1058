"""regroup.torch, by the name of a module of its own."""
from regroup.torch import SharedMemoryStore, connect_store

__all__ = ["SharedMemoryStore", "connect_store"]
