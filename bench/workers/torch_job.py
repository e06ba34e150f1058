"""A torch worker: joins a gloo group, sums the ranks, stamps the answer, waits.

Signals and stamps are bare.py's; `reduced` follows `start` once the sum is right.
"""
import os
import time

first = time.monotonic_ns()

import signal

rank = os.environ["RANK"]
restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
stamps = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_CLOEXEC)


def stamp(event, ns=None):
    os.write(stamps, f"{event} {rank} {restarts} {os.getpid()} {ns or time.monotonic_ns()}\n".encode())


def end(event, code):
    def handler(number, frame):
        stamp(event)
        os._exit(code)

    return handler


signal.signal(signal.SIGTERM, end("term", 0))
signal.signal(signal.SIGUSR1, end("exit", 3))
signal.signal(signal.SIGUSR2, end("exit", 0))
signal.alarm(600)
stamp("start", first)

import torch
import torch.distributed as dist

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
