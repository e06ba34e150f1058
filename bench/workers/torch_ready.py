"""A torch worker that stamps `ready` once it has imported torch, and waits. Signals and other stamps are bare.py's."""
import time

first = time.monotonic_ns()

import signal

from stamps import end, stamp

signal.signal(signal.SIGTERM, end("term", 0))
signal.alarm(600)
stamp("start", first)

import torch
import torch.distributed

stamp("ready")
while True:
    signal.pause()
