"""regroup's rendezvous for agents of torchrun, PyTorch 2.5 and newer:

    torchrun --rdzv-backend=regroup --rdzv-endpoint=HOST:PORT --rdzv-id=ID --nnodes=… train.py

torchrun finds it by the entry point group `torchrun.handlers`, where this package's folder is on Python's path.
The place in the job is held by a process of its own, `regroup rendezvous-agent`, which does as the regroup command does;
this module asks it, by a line of JSON each, and remembers what it has said. torchrun owns the workers.
"""
import atexit
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import weakref

import torch.distributed as dist
from regroup._command import find_command
from torch.distributed.elastic.agent.server import SimpleElasticAgent
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousStateError,
)
from torch.distributed.elastic.rendezvous.api import RendezvousStoreInfo

__all__ = ["RegroupRendezvous"]

log = logging.getLogger("regroup")

# Options of the command that --rdzv-conf may have, with _ for -; whatever else is there stays --rdzv-conf's.
_OPTIONS = frozenset(
    "agent_stall back_off fail_fast group_size grow_debounce interface lease nnodes_unit node_group node_rank"
    " on_exit port_range return_grace spares strikes".split()
)

# For the process to tell others that this node goes, or that the job is over: it may serve them.
_END_SECONDS = 40

# Keys of the store that torchrun's agents share. Source: pytorch v2.13.0, torch/distributed/elastic/agent/server/api.py,
# _assign_worker_ranks and _exit_barrier; utils/store.py, _barrier_nonblocking.
_ROLE_INFO = "torchelastic/role_info/"
_ASSIGNED = "torchelastic/assigned_ranks/"
_BARRIER = "torchelastic/agent/terminal_state"
_MEMBERS = "/num_members"
_LAST_MEMBER = "/last_member"


class RegroupRendezvous(RendezvousHandler):
    """A node's place in a job, for one agent of torchrun.

    params: torchrun's RendezvousParameters. Of --rdzv-conf, `local_world_size` is the number of workers here, which
        is known by itself where an agent of torchrun asks; the command's options for several nodes may stand there,
        such as `lease=2s` (see _OPTIONS), and the keys that the command's own --rdzv-conf takes.
    """

    def __init__(self, params):
        self._params = params
        self._said = threading.Condition()
        self._process = None
        self._agent = lambda: None
        # What was said last, guarded by _said:
        self._round = None
        self._is_broken = False
        self._over = None
        # What the agent's thread alone looks at:
        self._has_heard = False
        self._has_succeeded = False
        self._store = None
        self._owner = os.getpid()

    def get_backend(self):
        return "regroup"

    def get_run_id(self):
        return self._params.run_id

    @property
    def use_agent_store(self):
        if self._round is not None:
            return self._round["agentStore"]
        return os.environ.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") != "1"

    def next_rendezvous(self):
        """Waits for the next round; the workers of the one before are gone.

        Raises RendezvousClosedError where the job has failed, RendezvousConnectionError where there's no round to come
        or nobody to ask. A node that the job hasn't needed ends with code 0 when the job has succeeded: SystemExit.
        """
        agent = _calling_agent()
        if self._process is None:
            self._start(agent)
        order = self._order("join")
        with self._said:
            self._round = None
            self._is_broken = False
        self._has_heard = False
        self._say(order)
        with self._said:
            while self._round is None and self._over is None:
                self._said.wait()
            if self._round is None:
                self._raise()
            told = self._round
        self._store = _RoundStore(told, self)
        # As workers of our own agents have it; torchrun hands on what it has itself.
        os.environ["REGROUP_ROUND"] = str(told["round"])
        return RendezvousInfo(
            self._store,
            told["rank"],
            told["nodes"],
            RendezvousStoreInfo(told["masterAddr"], told["masterPort"]),
        )

    def num_nodes_waiting(self):
        """1 where the round is over for what has happened on other nodes, be it a failure; else 0. Asks nobody."""
        if self._over is not None and self._over["how"] == "lost":
            self._raise()
        self._has_heard = self._has_heard or self._is_broken
        return int(self._is_broken)

    def is_closed(self):
        return self._over is not None

    def set_closed(self):
        self.shutdown()

    def shutdown(self):
        """Gives up the place. The others hear of a failure where there was one; others go on if they're enough."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return True
        self._say(self._order("end"))
        return self._ended()

    def succeed(self):
        """All workers here have ended well. The round's store tells it."""
        self._has_succeeded = True
        self._say({"do": "succeed"})

    def _order(self, what):
        """With the failures that the agent acts on, unless it was told to."""
        if self._round is None or self._has_heard or self._has_succeeded:
            return {"do": what}
        return {"do": what, "failures": _failures(self._agent())}

    def _start(self, agent):
        params = self._params
        local_world_size = params.get_as_int("local_world_size")
        restarts = 0
        if agent is not None:
            spec = agent.get_worker_group().spec
            self._agent = weakref.ref(agent)
            local_world_size = local_world_size or spec.local_world_size
            restarts = spec.max_restarts
        if local_world_size is None:
            raise RendezvousStateError(
                "nobody says how many workers this node has; give --rdzv-conf=local_world_size=N"
            )
        cookie = secrets.token_hex(12)
        # Nothing that configures the agent configures the process beside it.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PET_")}
        env.pop("REGROUP_COOKIE", None)
        env["REGROUP_GUARDS"] = cookie
        argv = _command(params, local_world_size, restarts)
        try:
            # In a session of its own: a signal for the agent's group is the agent's to act on.
            self._process = subprocess.Popen(
                argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise RendezvousConnectionError("%s: %s" % (argv[0], error.strerror)) from error
        # By it the guardian finds the workers, should this process be killed; and no worker needs the token.
        os.environ["REGROUP_COOKIE"] = cookie
        os.environ.pop("REGROUP_TOKEN", None)
        atexit.register(self._farewell)
        threading.Thread(target=self._listen, name="regroup-rendezvous", daemon=True).start()

    def _say(self, order):
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # it has ended, as _listen finds out

    def _listen(self):
        for line in self._process.stdout:
            self._hear(json.loads(line))
        with self._said:
            if self._over is None:
                why = "the process that held this node's place has ended"
                self._over = {"how": "lost", "why": why}
            self._said.notify_all()
        self._release()

    def _hear(self, heard):
        event = heard.pop("event")
        with self._said:
            if event == "round":
                self._round = heard
            elif event == "broken":
                self._is_broken = True
            elif event == "over":
                self._over = heard
            self._said.notify_all()
        if event in ("released", "over"):
            self._release()

    def _release(self):
        store = self._store
        if store is not None:
            store.release()

    def _raise(self):
        how, why = self._over["how"], self._over["why"]
        if how == "succeeded":
            log.warning("%s without this node", why)
            # torchrun crashes of RendezvousGracefulExitError. Source: pytorch v2.13.0, launcher/api.py, launch_agent.
            raise SystemExit(0)
        raise (RendezvousClosedError if how == "failed" else RendezvousConnectionError)(why)

    def _farewell(self):
        """The agent ends by a signal, or without shutdown(); its workers are gone."""
        if os.getpid() != self._owner or self._process.poll() is not None:
            return
        self._say({"do": "leave"})
        self._ended()

    def _ended(self):
        try:
            self._process.stdin.close()
        except OSError:
            pass  # it has ended
        try:
            return self._process.wait(_END_SECONDS) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False


class _RoundStore(dist.HashStore):
    """What a round's agents share, as far as one of them sees it: the job has given the ranks already.

    Nothing goes over the network. The exit barrier opens when the job has ended.
    """

    def __init__(self, told, rendezvous):
        super().__init__()
        self._rendezvous = rendezvous
        self._own = told
        first, world = told["firstRank"], told["worldSize"]
        self.set(_ASSIGNED + str(told["rank"]), json.dumps([first, world, first, world]))

    def multi_get(self, keys):
        """For rank 0, which adds the workers of all nodes up."""
        if not keys or not keys[0].startswith(_ROLE_INFO):
            return super().multi_get(keys)
        own = self.get(_ROLE_INFO + "0")
        role = json.loads(own)
        left = self._own["worldSize"] - role["local_world_size"]
        others = [
            {**role, "rank": rank, "local_world_size": left if rank == 1 else 0}
            for rank in range(1, len(keys))
        ]
        return [own, *(json.dumps(each).encode() for each in others)]

    def add(self, key, amount):
        if not key.startswith(_BARRIER):
            return super().add(key, amount)
        self._rendezvous.succeed()
        return 0  # nobody is ever the last one: release() says when all are there

    def release(self):
        self.set(_BARRIER + _LAST_MEMBER, "")


def _command(params, local_world_size, restarts):
    """argv of the process; options that REGROUP_COMMAND has stay behind the command's own word."""
    found = find_command()
    options = next((i for i, word in enumerate(found) if i > 0 and word.startswith("-")), len(found))
    argv = [
        *found[:options],
        "rendezvous-agent",
        *found[options:],
        "--nnodes=%d:%d" % (params.min_nodes, params.max_nodes),
        "--nproc-per-node=%d" % local_world_size,
        "--max-restarts=%d" % restarts,
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=" + params.endpoint,
        "--rdzv-id=" + params.run_id,
    ]
    if params.local_addr:
        argv.append("--local-addr=" + params.local_addr)
    left = []
    for key, value in params.config.items():
        name = key.replace("-", "_")
        if name in _OPTIONS:
            argv.append("--%s=%s" % (name.replace("_", "-"), value))
        elif name not in ("local_world_size", "rank"):
            left.append("%s=%s" % (key, value))
    if left:
        argv.append("--rdzv-conf=" + ",".join(left))
    return argv


def _calling_agent():
    """The agent of torchrun whose thread this is: a handler is told neither its workers nor its restarts."""
    frame = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, SimpleElasticAgent):
            return found
        frame = frame.f_back
    return None


def _failures(agent):
    """The workers of the agent's last round that have failed, the first one first; none where it doesn't say.

    Source: pytorch v2.13.0, torch/distributed/elastic/multiprocessing/api.py, PContext.
    """
    failures = getattr(getattr(agent, "_pcontext", None), "_failures", None)
    try:
        return [
            {
                "localRank": failure.local_rank,
                "pid": failure.pid,
                "exitcode": failure.exitcode,
                "message": str(failure.message),
                "timestamp": int(failure.timestamp),
            }
            for failure in sorted(failures.values(), key=lambda each: each.timestamp)
        ]
    except (AttributeError, TypeError, ValueError):
        return []
