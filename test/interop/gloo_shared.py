"""A rank of a gloo job whose store is what `connect_store()` gives; says which, and `rank N: done`.

Needs RANK, WORLD_SIZE, and REGROUP_STORE with REGROUP_SHM, or MASTER_ADDR with MASTER_PORT.
"""

import datetime
import logging
import os
import time

import torch
import torch.distributed as dist
from regroup.torch import connect_store

TIMEOUT = datetime.timedelta(seconds=60)


def main():
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = connect_store(TIMEOUT)
    kind = type(store).__name__
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    # Process groups hold it by its C++ half.
    del store

    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    assert total.item() == world * (world + 1) / 2, total
    half = list(range(world // 2))
    group = dist.new_group(half)
    if rank in half:
        ones = torch.ones(1)
        dist.all_reduce(ones, group=group)
        assert ones.item() == len(half), ones
    dist.monitored_barrier(timeout=TIMEOUT)
    dist.barrier()

    torch.manual_seed(rank)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    weights = [torch.zeros(2, 4) for _ in range(world)]
    dist.all_gather(weights, model.module.weight.data)
    assert all(torch.equal(weights[0], other) for other in weights)

    gathered = [None] * world
    dist.all_gather_object(gathered, {"rank": rank})
    assert [item["rank"] for item in gathered] == list(range(world))
    # PyTorch 1.13's gloo threads want the interpreter's lock to drop their last tensors, and whoever destroys
    # a group has it while it waits for them.
    time.sleep(0.1)
    dist.destroy_process_group()
    # One write, so that lines of several ranks don't mix.
    os.write(1, f"rank {rank}: done, {kind}\n".encode())
    # The same goes for what the interpreter would destroy.
    os._exit(0)


main()
