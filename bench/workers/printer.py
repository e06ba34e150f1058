"""Prints BENCH_LINES lines as training scripts do (print, under python -u), then stamps and exits 0."""
import os
import time

rank = os.environ["RANK"]
padding = "x" * 40
for i in range(int(os.environ["BENCH_LINES"])):
    print(f"line {rank} {i} {padding}")
stamps = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_CLOEXEC)
os.write(stamps, f"printed {rank} 0 {os.getpid()} {time.monotonic_ns()}\n".encode())
