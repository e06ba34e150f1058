"""A worker with memory of GPU 0, by CUDA's driver library alone. Stamps and signals are bare.py's.

Worker 0 of the first round holds BENCH_GPU_MB, which worker 0 of the next takes again: `got`, or `refused`. With
BENCH_GPU_LOADER it's a process of a session of its own that holds them, and lives on.
"""
import ctypes
import os
import signal
import subprocess
import sys
import time

from stamps import end, rank, restarts, stamp

size = int(os.environ["BENCH_GPU_MB"]) << 20


def take(patience=0):
    """Whether GPU 0 has as much, in as many seconds: the job before may have died just now."""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    for code in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        cuda.cuCtxSetCurrent(context),
    ):
        if code:
            raise SystemExit(f"CUDA error {code}")
    deadline = time.monotonic() + patience
    while cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    if cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(1), ctypes.c_size_t(size)):
        raise SystemExit("CUDA can't write what it gave")
    cuda.cuCtxSynchronize()
    return True


signal.signal(signal.SIGTERM, end("term", 0))
signal.signal(signal.SIGUSR1, end("exit", 3))
signal.alarm(60)
if len(sys.argv) > 1:  # the loader
    stamp("held" if take(20) else "refused")
    while True:
        time.sleep(1)
stamp("start")
if rank == "0" and restarts == "0" and "BENCH_GPU_LOADER" in os.environ:
    subprocess.Popen([sys.executable, __file__, "loader"], start_new_session=True)
elif rank == "0":
    if restarts == "0":
        stamp("held" if take(20) else "refused")
    else:
        stamp("got" if take() else "refused")
while True:
    signal.pause()
