"""Runs a script as torchrun's --run-path does: `run_path.py SCRIPT ARGS…`.

When the script has returned, the process ends once those of all the node's workers have.

The script sees `__name__ == "__main__"` and `sys.argv == [SCRIPT, *ARGS]`. An exception is recorded
in the file that TORCHELASTIC_ERROR_FILE names, in the form of torch's own `record`, and ends the
process with 1. Standard library only, Python 3.7 and newer.
"""
import os
import sys


def main():
    sys.argv[0:1] = []
    # Its own folder is what a script finds first on its path, not this file's. With -P and the like
    # neither is there.
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    enable_fault_handler()
    gate = os.environ.pop("REGROUP_RETURN", None)

    import runpy

    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        # The interpreter's own rules hold: 0 and None end cleanly, a text is printed and means 1.
        if end.code is None or end.code == 0:
            wait_for_others(gate)
        raise
    except KeyboardInterrupt:
        # Dies by SIGINT, as a script that's run directly would.
        raise
    except BaseException as error:
        record(error)
        print_without_this_file(error)
        sys.exit(1)
    wait_for_others(gate)


def wait_for_others(gate):
    """Tells the agent that this worker has returned, and waits until all of the node have, or have ended.

    gate: NAME:LOCAL_RANK, a socket in the abstract namespace; None where nobody is waited for
    """
    if not gate:
        return

    import socket

    name, _, local_rank = gate.rpartition(":")
    address = b"\0" + name.encode()
    # libuv before 1.47 binds all 108 bytes of an address, and the kernel compares them all.
    for each in (address, address.ljust(108, b"\0")):
        try:
            with socket.socket(socket.AF_UNIX) as agent:
                agent.connect(each)
                agent.sendall(local_rank.encode() + b"\n")
                while agent.recv(1):
                    pass
            return
        except OSError:
            # The other address, or nobody is left to wait for.
            pass


def enable_fault_handler():
    try:
        import faulthandler

        faulthandler.enable(all_threads=True)
    except Exception as error:
        # stderr may be closed or replaced; tracebacks of crashes are a help, not a need.
        if sys.stderr:
            sys.stderr.write("Unable to enable fault handler. %s\n" % error)


def record(error):
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return

    import json
    import time
    import traceback

    data = {
        "message": {
            "message": "%s: %s" % (type(error).__name__, error),
            "extraInfo": {
                "py_callstack": traceback.format_exc(),
                "timestamp": str(int(time.time())),
            },
        }
    }
    try:
        with open(path, "w") as file:
            json.dump(data, file)
    except Exception as problem:
        # The exception itself still reaches stderr and the exit code.
        sys.stderr.write("Unable to write error to file. %s: %s\n" % (type(problem).__name__, problem))


def print_without_this_file(error):
    import traceback

    frame = error.__traceback__
    own = frame.tb_frame.f_code.co_filename
    while frame is not None and (
        frame.tb_frame.f_code.co_filename == own or "runpy" in frame.tb_frame.f_code.co_filename
    ):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame or error.__traceback__)


main()
