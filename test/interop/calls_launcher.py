"""A tool that launches in its own process, as accelerate does: `calls_launcher.py TORCHRUN-ARGUMENTS`."""
import sys

import torch.distributed.run as launcher

args = launcher.get_args_parser().parse_args(sys.argv[1:])
# Tools change what they have parsed, by texts where torch has numbers, and keep their own there.
args.max_restarts = "1"
args.tool_option = "not for the launcher"
launcher.run(args)
print("the tool goes on")
