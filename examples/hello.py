"""Prints what the launcher tells a worker. Needs no torch.

    regroup --standalone --nproc-per-node=4 examples/hello.py
"""

import os
import sys


def main():
    env = os.environ
    print(
        "hello from rank %s of %s (local rank %s of %s, restart %s), pid %d; we meet at %s:%s"
        % (
            env["RANK"],
            env["WORLD_SIZE"],
            env["LOCAL_RANK"],
            env["LOCAL_WORLD_SIZE"],
            env["TORCHELASTIC_RESTART_COUNT"],
            os.getpid(),
            env["MASTER_ADDR"],
            env["MASTER_PORT"],
        ),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
