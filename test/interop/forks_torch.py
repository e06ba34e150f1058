"""A Python that has PyTorch imported and becomes scripts by fork, which spares each worker seconds.

`forks_torch.py NAME` waits at the abstract socket of that name and says `ready`. `forks_torch.py NAME -u SCRIPT ARG…`
is such a worker: the script runs in a child of the first, with this one's environment, folder, standard streams and
signals, and this one ends as the script does.
"""

import json
import os
import selectors
import signal
import socket
import sys


def worker(name, words):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect("\0" + name)
    script = [word for word in words if word != "-u"]
    request = {"script": script, "env": dict(os.environ), "cwd": os.getcwd()}
    socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda number, _: connection.send(b"%d" % number))
    status = int(connection.recv(16))
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    if os.WTERMSIG(status) != signal.SIGKILL:
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))


def serve(name):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("\0" + name)
    listener.listen(64)
    import_torch()
    os.write(1, b"ready\n")

    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, lambda: begin(selector, listener.accept()[0]))
    while True:
        for key, _ in selector.select():
            # An earlier one may have closed what this one is about.
            if selector.get_map().get(key.fd) == key:
                key.data()


def import_torch():
    import torch
    import torch.distributed
    import torch.nn.parallel

    # It imports more of PyTorch when it's made for the first time.
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def begin(selector, connection):
    request, fds, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    pid = os.fork()
    if pid == 0:
        become(json.loads(request), fds)
    for fd in fds:
        os.close(fd)
    process = os.pidfd_open(pid)
    selector.register(connection, selectors.EVENT_READ, lambda: hear(selector, connection, pid))
    selector.register(process, selectors.EVENT_READ, lambda: end(selector, process, connection, pid))


def hear(selector, connection, pid):
    """A signal that the worker got; or it's gone, and takes the script along."""
    number = connection.recv(16)
    if not number:
        selector.unregister(connection)
    os.kill(pid, int(number) if number else signal.SIGKILL)


def end(selector, process, connection, pid):
    selector.unregister(process)
    os.close(process)
    status = os.waitpid(pid, 0)[1]
    if connection.fileno() in selector.get_map():
        selector.unregister(connection)
        try:
            connection.send(b"%d" % status)
        except OSError:
            pass  # It has just gone.
    connection.close()


def become(request, fds):
    import runpy
    import traceback

    code = 1
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        sys.argv = request["script"]
        folders = os.environ.get("PYTHONPATH", "").split(":")
        sys.path[0:1] = [os.path.dirname(sys.argv[0]), *filter(None, folders)]
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if len(sys.argv) > 2:
    worker(sys.argv[1], sys.argv[2:])
else:
    serve(sys.argv[1])
