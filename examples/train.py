"""Data-parallel training that survives the loss of a worker.

    regroup --standalone --nproc-per-node=2 --max-restarts=1 examples/train.py
    regroup --standalone --nproc-per-node=2 --max-restarts=1 examples/train.py --crash-at 120 --crash-rank 1

Each worker trains on its own part of a small synthetic data set. Rank 0 writes a checkpoint every
few steps; after a restart all workers go on from the last one. Runs on CPUs or GPUs, with PyTorch
from 1.13 on.
"""

import argparse
import os
import shutil
import sys
import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def parse_args():
    parser = argparse.ArgumentParser(description="Data-parallel training with checkpoints.")
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps (default: 200)")
    parser.add_argument("--batch-size", type=int, default=64, help="samples per worker and step")
    parser.add_argument("--checkpoint-every", type=int, default=50, metavar="STEPS")
    parser.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="keep the checkpoint in this file, and go on from it if it exists "
        "(default: a temporary one that restarts of this job share, gone at its end)",
    )
    parser.add_argument("--crash-at", type=int, metavar="STEP", help="crash once, at this step")
    parser.add_argument("--crash-rank", type=int, default=0, metavar="RANK")
    return parser.parse_args()


def main():
    args = parse_args()
    rank = int(os.environ["RANK"])
    local_rank = int(os.environ["LOCAL_RANK"])

    # All workers of a node must choose alike: too few GPUs for them all means CPUs for them all.
    use_gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    device = torch.device("cuda", local_rank) if use_gpus else torch.device("cpu")
    if use_gpus:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if use_gpus else "gloo")

    # Workers of one job share its run id in every restart; another job has another one.
    scratch = os.path.join(
        tempfile.gettempdir(), "regroup-train-" + os.environ.get("TORCHELASTIC_RUN_ID", "single")
    )
    checkpoint = args.checkpoint or os.path.join(scratch, "checkpoint.pt")
    crash_marker = checkpoint + ".crashed"
    if rank == 0:
        os.makedirs(os.path.dirname(os.path.abspath(checkpoint)), exist_ok=True)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1)).to(device)
    ddp = DistributedDataParallel(model, device_ids=[local_rank] if use_gpus else None)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.9)

    step = load(checkpoint, model, optimizer, device)
    if rank == 0:
        print("training on %d %s workers" % (dist.get_world_size(), device.type), flush=True)
        if step > 0:
            print("resumed from step %d" % step, flush=True)

    while step < args.steps:
        inputs, targets = batch(step, rank, args.batch_size, device)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(ddp(inputs), targets)
        loss.backward()
        optimizer.step()
        step += 1

        if rank == 0 and (step % 50 == 0 or step == args.steps):
            print("step %d loss %.4f" % (step, loss.item()), flush=True)
        if rank == 0 and (step % args.checkpoint_every == 0 or step == args.steps):
            save(checkpoint, model, optimizer, step)
        if step == args.crash_at and rank == args.crash_rank and not os.path.exists(crash_marker):
            crash(step, crash_marker)

    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        if os.path.exists(crash_marker):
            os.remove(crash_marker)
        if not args.checkpoint:
            shutil.rmtree(scratch, ignore_errors=True)


def batch(step, rank, size, device):
    """This worker's part of a step's data: the same again when the step is repeated."""
    generator = torch.Generator().manual_seed(1_000_003 * step + rank)
    inputs = torch.randn(size, 16, generator=generator)
    targets = torch.sin(inputs.mean(dim=1, keepdim=True) * 4)
    return inputs.to(device), targets.to(device)


def save(path, model, optimizer, step):
    """Writes beside the file, then renames: whoever reads it finds a whole one."""
    partial = path + ".partial"
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, partial)
    os.replace(partial, path)


def load(path, model, optimizer, device):
    """Restores the last checkpoint, if there is one, and returns its step."""
    if not os.path.exists(path):
        return 0
    state = torch.load(path, map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def crash(step, marker):
    os.makedirs(os.path.dirname(os.path.abspath(marker)), exist_ok=True)
    open(marker, "w").close()
    print("rank %s crashes at step %d" % (os.environ["RANK"], step), flush=True)
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
