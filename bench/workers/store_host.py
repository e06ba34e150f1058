"""Hosts PyTorch's own TCPStore: prints `ready HOST:PORT`, and ends when its stdin closes.

The server is what this PyTorch takes by default: libuv's since 2.4, the only one of 1.13 before.
"""

import datetime
import sys

import torch.distributed as dist

store = dist.TCPStore(
    "127.0.0.1",
    0,
    None,
    True,
    timeout=datetime.timedelta(seconds=60),
    wait_for_workers=False,
)
print(f"ready 127.0.0.1:{store.port}", flush=True)
sys.stdin.read()
