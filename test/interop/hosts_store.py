"""Hosts PyTorch's own TCPStore: prints `ready PORT`, and ends when its stdin closes.

Each line that it reads names something to do, and is answered by `done NAME RESULT`. Runs on torch
1.13 and later. Arguments: `libuv`, `threaded` or `only` (1.13 has one server, and no word for it).
"""

import datetime
import sys

import torch.distributed as dist

options = {} if sys.argv[1] == "only" else {"use_libuv": sys.argv[1] == "libuv"}
store = dist.TCPStore(
    "127.0.0.1",
    0,
    None,
    True,
    timeout=datetime.timedelta(seconds=60),
    wait_for_workers=False,
    **options,
)
print(f"ready {store.port}", flush=True)

prefixed = dist.PrefixStore("outer", dist.PrefixStore("inner", store))
actions = {
    "set-late": lambda: store.set("late", "in time"),
    "get-ours": lambda: store.get("ours"),
    "get-binary": lambda: store.get("binary").hex(),
    "add-counter": lambda: store.add("counter", 1),
    "get-prefixed": lambda: prefixed.get("x"),
    "set-prefixed": lambda: prefixed.set("y", "from torch"),
    "push": lambda: store.queue_push("queue", "pushed"),
    "barrier": lambda: store.barrier("met", 2),
    "barrier-prefixed": lambda: prefixed.barrier("met", 2),
}
for line in sys.stdin:
    name = line.strip()
    print(f"done {name} {actions[name]()}", flush=True)
