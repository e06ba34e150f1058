"""Runs command lines through real torchrun, up to the moment before workers start.

stdin: a JSON array of {"command": "run" | "launch" | "options", "argv": [...], "env": {...}}.
stdout: a JSON array of {"exit": code, "error": last line of stderr, "config": {...} | null}.
One process for all, since importing torch takes seconds.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
import warnings

import torch.distributed.launch as launch
import torch.distributed.launcher.api as api
import torch.distributed.run as run


class Reached(Exception):
    """The command line was good: an agent would start now."""


def agent(spec, logs_specs, start_method, log_line_prefix_template, shutdown_timeout, **_):
    raise Reached({
        "entrypoint": spec.entrypoint if isinstance(spec.entrypoint, str) else "function",
        "args": list(spec.args),
        "nproc": spec.local_world_size,
        "role": spec.role,
        "max_restarts": spec.max_restarts,
        "run_id": spec.rdzv_handler.get_run_id(),
        "backend": spec.rdzv_handler.get_backend(),
        "master": [spec.master_addr, spec.master_port],
        "redirects": streams(logs_specs._redirects),
        "tee": streams(logs_specs._tee),
        "local_ranks_filter": sorted(logs_specs._local_ranks_filter or []),
        "stdout_filters": spec.duplicate_stdout_filters,
        "stderr_filters": spec.duplicate_stderr_filters,
        "prefix": log_line_prefix_template,
        "shutdown_timeout": shutdown_timeout,
        "virtual_local_rank": spec.virtual_local_rank,
        "signals": os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"],
        "start_method": start_method,
    })


def streams(value):
    return {str(k): int(v) for k, v in value.items()} if isinstance(value, dict) else int(value)


def outcome(case):
    os.environ.clear()
    os.environ.update(BASE, **case["env"])
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
        try:
            if case["command"] == "options":
                actions = run.get_args_parser()._actions
                names = {a.dest: a.option_strings for a in actions if a.option_strings}
                return {"exit": 0, "error": "", "config": names}
            if case["command"] == "launch":
                launch.launch(launch.parse_args(case["argv"]))
            else:
                run.run(run.parse_args(case["argv"]))
        except Reached as reached:
            return {"exit": 0, "error": "", "config": reached.args[0]}
        except SystemExit as end:
            lines = stderr.getvalue().splitlines() or [""]
            return {"exit": end.code or 0, "error": lines[-1], "config": None}
        except Exception as error:
            line = traceback.format_exception_only(error)[-1].strip()
            return {"exit": 1, "error": line, "config": None}


warnings.simplefilter("ignore")
BASE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1"}
api.LocalElasticAgent = agent
# Each accepted command line makes its folder for logs.
with tempfile.TemporaryDirectory() as tempfile.tempdir:
    outcomes = [outcome(case) for case in json.load(sys.stdin)]
json.dump(outcomes, sys.stdout)
