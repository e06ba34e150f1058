"""PyTorch's own rendezvous states: prints some as it pickles them, and says what it reads in others'.

Prints `made NAME PROTOCOL BASE64 JSON` for each of its own, the JSON being what is in it, and `ready`. Each line that it reads
then is a pickle in base64, and is answered by `read JSON`, or `failed ERROR`; `again BASE64 JSON` tells what the pickle is that
PyTorch writes of it. Runs on torch 1.13 and later. Given `2.0` or `2.3`, it gives states what those releases give them, and
nothing else: times without a zone, and in 2.0 no list of spares.
"""

import base64
import dataclasses
import json
import pickle
import sys
from datetime import datetime, timedelta, timezone

from torch.distributed.elastic.rendezvous import dynamic_rendezvous as rendezvous

has_spares = "redundancy_list" in rendezvous._RendezvousState().__dict__ and "2.0" not in sys.argv
is_aware = has_spares and "2.3" not in sys.argv
known_of_node = [field.name for field in dataclasses.fields(rendezvous._NodeDesc)]
known_of_state = list(rendezvous._RendezvousState().__dict__)


def now(seconds=0):
    return datetime(
        2026, 11, 30, 10, 20, 30, 123456, timezone.utc if is_aware else None
    ) + timedelta(seconds=seconds)


def fresh():
    state = rendezvous._RendezvousState()
    if not has_spares:
        state.__dict__.pop("redundancy_list", None)
    return state


def node(number):
    return rendezvous._NodeDesc(f"node{number}.example", 4000 + number * 977, number % 3)


def described_node(desc):
    others = {k: v for k, v in vars(desc).items() if k not in known_of_node}
    return [*(getattr(desc, name) for name in known_of_node), others]


def described(state):
    def time(value):
        return value and value.replace(tzinfo=timezone.utc).isoformat(timespec="microseconds")

    return {
        "round": state.round,
        "complete": state.complete,
        "deadline": time(state.deadline),
        "closed": state.closed,
        "participants": [[*described_node(n), r] for n, r in state.participants.items()],
        "wait_list": sorted(described_node(n) for n in state.wait_list),
        "redundancy_list": sorted(described_node(n) for n in getattr(state, "redundancy_list", ())),
        "last_heartbeats": [[*described_node(n), time(at)] for n, at in state.last_heartbeats.items()],
        "others": {k: v for k, v in vars(state).items() if k not in known_of_state},
    }


def states():
    state = fresh()
    yield "empty", state

    state = fresh()
    state.participants[node(0)] = 0
    state.last_heartbeats[node(0)] = now()
    state.deadline = now(30)
    yield "open", state

    state = fresh()
    state.round, state.complete, state.closed = 70000, True, True
    for number in range(2500):
        desc = node(number)
        state.participants[desc] = number
        state.last_heartbeats[desc if number % 2 else node(number)] = now(number)
    yield "many", state

    state = fresh()
    state.complete = True
    for number in range(6):
        state.last_heartbeats[node(number)] = now(-number)
        if number < 2:
            state.participants[node(number)] = 1 - number
        elif number < 4 or not has_spares:
            state.wait_list.add(node(number))
        else:
            state.redundancy_list.add(node(number))
    extra = node(7)
    extra.__dict__["label"] = "rack-7"
    state.wait_list.add(extra)
    state.note = "kept"
    state.more = {"count": 2**40, "none": None, "pair": (True, -5), "text": "é" * 300}
    yield "everything", state


def encoded(state, protocol=pickle.DEFAULT_PROTOCOL):
    return base64.b64encode(pickle.dumps(state, protocol)).decode()


for name, made in states():
    for protocol in range(2, 6):
        print("made", name, protocol, encoded(made, protocol), json.dumps(described(made)), flush=True)
print("ready", flush=True)

for line in sys.stdin:
    try:
        theirs = pickle.loads(base64.b64decode(line))
        print("read", json.dumps(described(theirs)), flush=True)
        # As an agent does: it changes something, and writes the whole.
        theirs.closed = True
        print("again", encoded(theirs), json.dumps(described(theirs)), flush=True)
    except Exception as error:
        print("failed", repr(error), flush=True)
