"""`gloo_many.py HOST:PORT WORLD`: a gloo job of many ranks at a store, from one process that imports torch once.

Says `WORLD ranks: done` and exits with 0 if every rank joined, reduced, met in a barrier and left.
"""

import datetime
import os
import sys
import time

import torch
import torch.distributed as dist


def rank_main(address, rank, world):
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=120)
    host, port = address.rsplit(":", 1)
    store = dist.TCPStore(host, int(port), is_master=False, timeout=timeout, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timeout)
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    assert total.item() == world * (world + 1) / 2, total
    half = list(range(world // 2))
    group = dist.new_group(half)
    if rank in half:
        ones = torch.ones(1)
        dist.all_reduce(ones, group=group)
        assert ones.item() == len(half), ones
    dist.monitored_barrier(timeout=timeout)
    dist.barrier()
    # See store_workload.py.
    time.sleep(0.1)
    dist.destroy_process_group()


def main():
    address, world = sys.argv[1], int(sys.argv[2])
    pids = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            try:
                rank_main(address, rank, world)
                os._exit(0)
            except BaseException as error:
                sys.stderr.write(f"rank {rank}: {error!r}\n")
                os._exit(1)
        pids.append(pid)
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
    if failed:
        sys.exit(f"{failed} of {world} ranks failed")
    print(f"{world} ranks: done", flush=True)


main()
