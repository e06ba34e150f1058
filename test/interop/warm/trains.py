# Trains a little, and prints what torch makes of the interpreter that it's in.
import os
import sys

os.environ["MKL_NUM_THREADS"] = "1"


def say(name, value):
    sys.stdout.write("%s: %s\n" % (name, ascii(value)))


def say_imports():
    say("modules", list(sys.modules))
    say("filters", sys.modules["_warnings"].filters)
    say("environment", list(os.environ.items()))
    say("meta path", [getattr(each, "__name__", type(each).__name__) for each in sys.meta_path])
    say("path", sys.path)


class Data:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        # A spawned one runs nothing below.
        import torch

        return torch.full((4,), float(index)), torch.utils.data.get_worker_info().id, os.environ["RANK"]


if __name__ == "__main__":
    say_imports()
    import argparse

    say_imports()
    import torch

    say_imports()
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader

    say_imports()
    say("threads", (torch.get_num_threads(), torch.get_num_interop_threads()))
    say("config", torch.__config__.parallel_info())
    torch.manual_seed(3)
    say("seeded", torch.rand(3).tolist())
    say("state", torch.random.get_rng_state().sum().item())
    say("types", (torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()))
    say("cuda", (torch.cuda.is_initialized(), torch.cuda.is_available()))
    if "numpy" in sys.modules:
        import numpy

        numpy.random.seed(5)
        say("numpy", (numpy.random.rand(2).tolist(), torch.ones(2).numpy().tolist(), numpy.geterr()))
    import threading

    say("python threads", [each.name for each in threading.enumerate()])
    say("affinity", os.sched_getaffinity(0))
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for context, workers in ("fork", 2), ("spawn", 1):
        loader = DataLoader(Data(), batch_size=4, num_workers=workers, multiprocessing_context=context)
        for values, worker, rank in loader:
            loss = model(values).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            say("batch", (context, worker.tolist(), rank, loss.item()))
    os.environ.update(MASTER_ADDR="127.0.0.1", WORLD_SIZE="1", RANK="0")
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    parallel = DistributedDataParallel(model)
    parallel(torch.ones(2, 4)).sum().backward()
    dist.destroy_process_group()
    say("warnings", torch.tensor(torch.ones(1)).item())
    import io

    file = io.BytesIO()
    torch.save(model, file)
    say("saved", len(file.getvalue()) > 1000)
    script = torch.jit.script(torch.nn.Linear(2, 2))
    say("script", str(script.graph))
    say_imports()
    say("loss", loss.item())
    raise RuntimeError("the end")
