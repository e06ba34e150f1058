"""A torch worker: joins a gloo group, sums the ranks, stamps the answer, waits.

Signals and stamps are bare.py's; `imported` follows `start`, and `reduced` once the sum is right.
"""
import time

first = time.monotonic_ns()

import signal

from stamps import end, stamp

signal.signal(signal.SIGTERM, end("term", 0))
signal.signal(signal.SIGUSR1, end("exit", 3))
signal.signal(signal.SIGUSR2, end("exit", 0))
signal.alarm(600)
stamp("start", first)

import torch
import torch.distributed as dist

stamp("imported")
torch.set_num_threads(1)
dist.init_process_group("gloo")
world = dist.get_world_size()
total = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(total)
if total.item() != world * (world + 1) // 2:
    raise SystemExit(f"all_reduce gave {total.item()}")
stamp("reduced")
while True:
    signal.pause()
