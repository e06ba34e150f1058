"""Imports what the test has installed, notes that, and dies when it's told to: imports_heavy.py FOLDER HOW RESTARTS."""
import os
import sys
import time

folder, how, restarts = sys.argv[1:]
known = "heavy" in sys.modules
is_learned_from = type(os.environ) is not os._Environ
if how == "sets":
    os.environ["MY_SEED"] = "1"
elif how == "flags":
    sys.setdlopenflags(sys.getdlopenflags() ^ 0x100)
import heavy
import own

count, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
with open(os.path.join(folder, "ran-%s-%s" % (count, rank)), "w") as file:
    file.write("%d %d %s %s" % (known, is_learned_from, heavy.seed, own.name))
if int(count) < int(restarts):
    while not (rank == "0" and os.path.exists(os.path.join(folder, "crash-" + count))):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
