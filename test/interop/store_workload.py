"""A worker that uses all that torch.distributed asks of a store, with the gloo backend.

Needs the environment that a launcher gives: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT and
TORCHELASTIC_USE_AGENT_STORE. Runs on torch 1.13 and later; says `rank N: done` and exits with 0.
"""

import datetime
import os
import sys
import time

import torch
import torch.distributed as dist


def main():
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    rank, world = dist.get_rank(), dist.get_world_size()
    assert rank == int(os.environ["RANK"]) and world == int(os.environ["WORLD_SIZE"])

    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    assert total.item() == world * (world + 1) / 2, total
    dist.barrier()

    everyone = dist.new_group(list(range(world)))
    dist.all_reduce(total, group=everyone)
    first_half = list(range(max(1, world // 2)))
    half = dist.new_group(first_half)
    if rank in first_half:
        ones = torch.ones(1)
        dist.all_reduce(ones, group=half)
        assert ones.item() == len(first_half)

    gathered = [None] * world
    dist.all_gather_object(gathered, {"rank": rank})
    assert [item["rank"] for item in gathered] == list(range(world))
    objects = [{"from": rank}, "x" * 1000]
    dist.broadcast_object_list(objects, src=0)
    assert objects[0] == {"from": 0}
    dist.monitored_barrier()

    torch.manual_seed(rank)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(3, 4)).sum().backward()
        optimizer.step()
    weights = [torch.zeros(2, 4) for _ in range(world)]
    dist.all_gather(weights, model.module.weight.data)
    assert all(torch.equal(weights[0], other) for other in weights)

    dist.barrier()
    # PyTorch 1.13's gloo threads want the interpreter's lock to drop their last tensors, and whoever destroys
    # a group has it while it waits for them.
    time.sleep(0.1)
    dist.destroy_process_group()
    sys.stdout.write(f"rank {rank}: done, torch {torch.__version__}\n")
    sys.stdout.flush()
    # The same goes for what the interpreter would destroy.
    os._exit(0)


main()
