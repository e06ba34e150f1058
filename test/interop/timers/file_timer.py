"""Workers with PyTorch's file timers: file_timer.py HOW"""

import json
import os
import signal
import sys
import time

import torch.distributed.elastic.timer as timer

how = sys.argv[1]
path = os.environ["TORCHELASTIC_TIMER_FILE"]
rank = int(os.environ["RANK"])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])


def say(text):
    sys.stdout.write(f"rank {rank}: {text}\n")
    sys.stdout.flush()


def write(data):
    pipe = os.open(path, os.O_WRONLY)
    while data:
        data = data[os.write(pipe, data) :]
    os.close(pipe)


def request(pid, seconds, number=9):
    fields = {"version": 1, "pid": pid, "scope_id": "forged"}
    fields.update(expiration_time=time.time() + seconds, signal=number)
    return json.dumps(fields).encode() + b"\n"


def fork_as(pid):
    """A child of that number, which nobody has at this moment."""
    while True:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        if child == pid:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


timer.configure(timer.FileTimerClient(path))
with timer.expires(after=3600):
    pass

if how == "nonsense" and rank == 1 and attempt == 0:
    # A client doesn't wait for a pipe that is full.
    while not os.path.exists(path + ".0"):
        time.sleep(0.01)
    write(b"no JSON\n" + b"[" * 3000 + b"\n" + b"x" * 300_000 + b"\n")
    write(b'{"version": 1, "pid": "1", "scope_id": 1}\n')
    # Neither the agent nor a stranger is ever hit, though their timers have expired.
    write(request(os.getppid(), -5) + request(1, -5))

if attempt > 0 or rank == 0 and how not in ("signal-0", "reused"):
    say("is done in time")
    if attempt > 0:
        sys.exit()
    if how == "nonsense":
        open(path + ".0", "x").close()
    time.sleep(3600)

if how == "signal-0":
    quiet = timer.FileTimerClient(path, signal=0)
    quiet.acquire("quiet", time.time() - 1)
    # The agent reads in order: when this one has hit, the other hasn't.
    timer.configure(timer.FileTimerClient(path, signal=signal.SIGUSR1))
    signal.signal(signal.SIGUSR1, lambda *_: (say("got SIGUSR1"), os._exit(0)))
if how == "child" and os.fork() == 0:
    write(request(os.getpid(), 0))
    time.sleep(3600)
if how == "reused":
    # A child leaves a timer behind, and its pid is another child's when that expires.
    heard = []
    signal.signal(signal.SIGUSR2, lambda *_: heard.append(True))
    # Stacks are taken for the first one only.
    write(request(os.getpid(), -5, signal.SIGUSR2))
    while len(heard) < 1:
        time.sleep(0.01)
    first = os.fork()
    if first == 0:
        write(request(os.getpid(), 5))
        # When this one has hit, the agent has read the other.
        write(request(os.getppid(), -5, signal.SIGUSR2))
        time.sleep(3600)
    while len(heard) < 2:
        time.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    other = fork_as(first)
    signal.signal(signal.SIGUSR1, lambda *_: (say("got SIGUSR1"), os.kill(other, 9), os._exit(0)))
    timer.FileTimerClient(path, signal=signal.SIGUSR1).acquire("later", time.time() + 6)
    time.sleep(3600)
if how == "child":
    time.sleep(3600)

with timer.expires(after=0.2, scope="the slow part"):
    time.sleep(3600)
