"""A worker of `accelerate launch`: its processes add their numbers up."""
import os
import sys

import torch
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
rank, world_size = accelerator.process_index, accelerator.num_processes
total = int(accelerator.reduce(torch.tensor([rank + 1]), "sum"))
line = f"rank {rank} of {world_size} in round {os.environ.get('REGROUP_ROUND')}: sum {total}"
os.write(1, f"{line} {' '.join(sys.argv[1:])}\n".encode())
accelerator.end_training()
