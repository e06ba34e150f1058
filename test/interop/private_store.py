"""Meets at a store of its own, or at the master port (INIT=env), and sums. Rank 0 fails in the first of two rounds."""
import datetime
import os
import sys

import torch
import torch.distributed as dist

rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]


def say(line):
    """In one write: ranks share their standard output."""
    os.write(1, (line + "\n").encode())


# A port beside the master's, which both ranks know: most likely nobody has it.
port = 20_000 + int(os.environ["MASTER_PORT"]) % 10_000
if os.environ["INIT"] == "env":
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=300))
else:
    say("rank %d meets at %d" % (rank, port))
    dist.init_process_group(
        "gloo",
        init_method="tcp://127.0.0.1:%d" % port,
        rank=rank,
        world_size=world_size,
        timeout=datetime.timedelta(seconds=300),
    )
one = torch.ones(1)
dist.all_reduce(one)
say("rank %d: sum %d of attempt %s" % (rank, one.item(), attempt))
dist.barrier()
dist.destroy_process_group()
if attempt == "0" and rank == 0 and os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0":
    sys.exit(1)
