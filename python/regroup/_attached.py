"""Becomes a command that ends with its parent: `_attached.py PARENT COMMAND…`.

The kernel asks it to stop, by SIGTERM, when the thread that started it ends, however that ends. Only
a process itself can ask for that; between fork and exec of a process with threads it couldn't in Python.
"""
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    # Python changes these three; what it becomes is to have them as they were.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # Before the line above nobody would have told us.
    if os.getppid() != int(sys.argv[1]):
        sys.exit(128 + signal.SIGTERM)
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        sys.exit("regroup: %s: %s" % (sys.argv[2], error.strerror))
