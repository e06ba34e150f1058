"""gloo_round.py FAILURES [INIT_METHOD]: one gloo all_reduce in each attempt; rank 1 fails those below FAILURES, after it.

Before that each rank looks for what its own rank wrote into an earlier attempt's store.
"""
import datetime
import os
import sys

import torch
import torch.distributed as dist

failures = int(sys.argv[1])
method = sys.argv[2] if len(sys.argv) > 2 else "env://"
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
wait = datetime.timedelta(seconds=60)

store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=wait)
times_seen = store.add(f"seen/{rank}", 1)
assert times_seen == 1, f"rank {rank} of attempt {attempt} sees keys of an earlier one"

if method == "env://":
    dist.init_process_group("gloo", timeout=wait)
else:
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=world, timeout=wait)
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
assert total.item() == world * (world + 1) / 2
launched = dist.is_torchelastic_launched()
# One write, so that lines of several workers don't mix.
said = f"rank {rank} of attempt {attempt} reduced, launched {launched}, port {os.environ['MASTER_PORT']}\n"
os.write(1, said.encode())
if rank != 1:
    store.set(f"said/{rank}", "yes")
elif attempt < failures:
    # The others are stopped milliseconds after this one's end, and have to have said theirs.
    store.wait([f"said/{other}" for other in range(world) if other != rank])
    os._exit(3)
dist.barrier()
dist.destroy_process_group()
