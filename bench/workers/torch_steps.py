"""A torch worker that trains at once: stamps `step0` and `step100`, and waits. Signals and stamps are bare.py's."""
import time

first = time.monotonic_ns()

import signal

from stamps import end, stamp

signal.signal(signal.SIGTERM, end("term", 0))
signal.alarm(600)
stamp("start", first)

import torch
import torch.distributed as dist

torch.set_num_threads(1)
dist.init_process_group("gloo")
weights = torch.rand(512, 512)
gradient = torch.rand(512)
dist.barrier()
stamp("step0")
for _ in range(100):
    for _ in range(8):
        weights = torch.tanh(weights @ weights)
    dist.all_reduce(gradient)
stamp("step100")
while True:
    signal.pause()
