"""Imports what the test has installed, notes that, and dies when it's told to: imports_heavy.py FOLDER HOW RESTARTS.

HOW `more` has it import another one then, and end. Where there's a file `late` the first round's workers import no earlier than they are told to die.
"""
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
late = "crash-" + os.environ["TORCHELASTIC_RESTART_COUNT"] if os.path.exists(os.path.join(folder, "late")) else None
while late == "crash-0" and not os.path.exists(os.path.join(folder, late)):
    time.sleep(0.02)
import heavy
import own

count, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
with open(os.path.join(folder, "ran-%s-%s" % (count, rank)), "w") as file:
    file.write("%d %d %s %s" % (known, is_learned_from, heavy.seed, own.name))
is_told = os.path.join(folder, "crash-" + count)
if how == "more":
    while not os.path.exists(is_told):
        time.sleep(0.02)
    import more
elif int(count) < int(restarts):
    while not (rank == "0" and os.path.exists(is_told)):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
