"""What the cases in shm_clients.py and shm_faults.py have in common: `run` does one, by its name.

Each case has a server of its own, which is the program in STORE_MAIN. Ends with 0, and says `CASE: held`, or
why it was left out.
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager

from regroup.store import Client

CASES = {}
# SEED repeats a run.
RANDOM = random.Random(int(os.environ.get("SEED", "1")))


def case(function):
    CASES[function.__name__] = function
    return function


class Server:
    def __init__(self):
        program = os.environ["STORE_MAIN"]
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = self.process.stdout.readline().split()[2]

    def client(self, timeout=20.0):
        return Client.connect(self.name, timeout=timeout)

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def stats(self):
        # The first answer may come before the server has seen who is gone, the second one can't.
        self.tell("stats")
        return {name: int(value) for name, value in (pair.split("=") for pair in self.tell("stats").split())}

    def end(self):
        self.process.stdin.close()
        self.process.stdout.read()
        return self.process.wait()


class Broken(Exception):
    """What a signal's handler raises."""


@contextmanager
def signals(every, after):
    """SIGALRM comes every so often; from the `after`th time on its handler raises Broken."""
    seen = []

    def handle(*_):
        seen.append(None)
        if len(seen) >= after:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Broken

    before = signal.signal(signal.SIGALRM, handle)
    try:
        # It may come at once.
        signal.setitimer(signal.ITIMER_REAL, every, every)
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raises(kind, action):
    try:
        action()
    except kind as error:
        return str(error)
    raise AssertionError(f"{action} raised no {kind.__name__}")


def fork(action):
    """The pid of a child that does it, and ends with 0 if it could."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException as error:
            sys.stderr.write(f"in the child: {error!r}\n")
        finally:
            os._exit(code)
    return pid


def in_child(action):
    """Its exit code."""
    return os.waitpid(fork(action), 0)[1]


def run():
    name = sys.argv[1]
    server = Server()
    try:
        left_out = CASES[name](server)
        server.end()
    finally:
        # A child that's left over may hold its stdin.
        server.process.kill()
    print(f"left out: {left_out}" if left_out else f"{name}: held", flush=True)
