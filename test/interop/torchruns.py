"""Runs PyTorch's own launchers, many from one process, so that torch is imported once and not each time.

Reads one JSON object a line: {"id", "module": "run" | "launch", "args", "env", "cwd", "stdio": [3 paths]}.
A forked child becomes each launcher; `{"id", "code"}` is written when it has ended.
"""
import json
import os
import re
import signal
import sys
import traceback


def repair_1_13():
    """1.13 looks a stream value up by iterating over an IntFlag, which since Python 3.11 skips 0 and 3, so every
    command dies (spec/launcher.md, section 0). This replaces that one function and nothing else."""
    from torch.distributed.elastic.multiprocessing import api

    def from_str(cls, value):
        if re.match(api._VALUE_REGEX, value):
            return cls(int(value))
        if re.match(api._MAPPING_REGEX, value):
            pairs = (pair.split(":") for pair in value.split(","))
            return {int(rank): cls(int(streams)) for rank, streams in pairs}
        raise ValueError(f"{value} does not match: <{api._VALUE_REGEX}> or <{api._MAPPING_REGEX}>")

    api.Std.from_str = classmethod(from_str)


def tell_events():
    """Has 1.13, which knows one handler of events only, write them to stderr."""
    import logging

    from torch.distributed.elastic.events import handlers

    handlers._log_handlers["null"] = logging.StreamHandler()


def become(request):
    for fd, path in enumerate(request["stdio"]):
        opened = os.open(path, os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, fd)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if "EVENTS_ON_STDERR" in request["env"]:
        tell_events()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module = __import__("torch.distributed." + request["module"], fromlist=["main"])
    sys.argv = [module.__file__, *request["args"]]
    try:
        module.main()
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def serve():
    import torch
    import torch.distributed.launch
    import torch.distributed.run

    if torch.__version__.startswith("1."):
        repair_1_13()
    # A child that ends answers for itself, so nobody here has to wait for several at once.
    answers = os.dup(1)
    signal.signal(signal.SIGCHLD, lambda *_: reap())
    for line in sys.stdin:
        request = json.loads(line)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = become(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(answers, (json.dumps({"id": request["id"], "code": code}) + "\n").encode())
            os._exit(code)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass


# multiprocessing's spawn imports this file again, under another name.
if __name__ == "__main__":
    serve()
