"""Notes its start, and waits for the end: counts_starts.py FOLDER."""
import os
import sys
import time

with open(os.path.join(sys.argv[1], "starts"), "a") as file:
    file.write("%d\n" % os.getpid())
while not os.path.exists(os.path.join(sys.argv[1], "end")):
    time.sleep(0.02)
