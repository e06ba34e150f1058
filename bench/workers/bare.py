"""A bare worker: an interpreter and nothing else. Run with `-S -E`, so that only built-in modules load.

It stamps its first line, then waits to be told its end:

SIGTERM   stamps `term`, exits 0: a worker that honours the stop signal at once
SIGUSR1   stamps `exit`, exits 3: a worker that fails
SIGUSR2   stamps `exit`, exits 0: a worker that is done

With BENCH_DEAF it ignores SIGTERM. With BENCH_TOUCH_MB worker 0 then touches as much memory, and stamps `touched`.

A stamp is `EVENT RANK ROUND PID NS`, NS of CLOCK_MONOTONIC, written at once (less than PIPE_BUF, so
whole) into the FIFO that BENCH_STAMPS names. No console is involved.
"""
import posix
import time

first = time.monotonic_ns()

import _signal

environ = posix.environ
rank = environ.get(b"RANK", b"0").decode()
restarts = environ.get(b"TORCHELASTIC_RESTART_COUNT", b"0").decode()
stamps = posix.open(environ[b"BENCH_STAMPS"], posix.O_WRONLY | posix.O_CLOEXEC)


def stamp(event, ns):
    posix.write(stamps, f"{event} {rank} {restarts} {posix.getpid()} {ns}\n".encode())


def end(event, code):
    def handler(signal, frame):
        stamp(event, time.monotonic_ns())
        posix._exit(code)

    return handler


_signal.signal(_signal.SIGTERM, _signal.SIG_IGN if b"BENCH_DEAF" in environ else end("term", 0))
_signal.signal(_signal.SIGUSR1, end("exit", 3))
_signal.signal(_signal.SIGUSR2, end("exit", 0))
_signal.alarm(180)  # whatever becomes of launcher and harness, nothing is left
stamp("start", first)
if rank == "0" and b"BENCH_TOUCH_MB" in environ:
    memory = bytearray(int(environ[b"BENCH_TOUCH_MB"]) << 20)
    memory[::4096] = b"x" * len(memory[::4096])
    stamp("touched", time.monotonic_ns())
while True:
    _signal.pause()
