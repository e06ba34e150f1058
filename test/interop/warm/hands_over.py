# Starts a standby, and gives it other streams with its order: `hands_over.py SHIM SCRIPT`. Prints what came on each pipe.
import array
import os
import socket
import struct
import subprocess
import sys


def message(*fields):
    texts = [os.fsencode(each) for pair in fields for each in pair]
    body = b"".join(struct.pack("<I", len(each)) + each for each in texts)
    return struct.pack("<I", len(body)) + body


def read(pipe):
    with os.fdopen(pipe, "rb") as file:
        return file.read()


shim, script = sys.argv[1:]
ours, theirs = socket.socketpair()
environment = dict(os.environ, PYTHONPATH=shim, REGROUP_STANDBY="1:%d" % theirs.fileno())
argv = [sys.executable, "-u", script]
standby = subprocess.Popen(
    argv, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
)
theirs.close()
ours.sendall(message(("type", "prepare"), ("version", "1"), ("module", "json")))
size = struct.unpack("<I", ours.recv(4, socket.MSG_WAITALL))[0]
ours.recv(size, socket.MSG_WAITALL)

out, err = os.pipe(), os.pipe()
order = message(
    ("type", "order"),
    ("version", "1"),
    ("umask", "0027"),
    ("stream", "1"),
    ("stream", "2"),
    *(("env", "%s=%s" % pair) for pair in os.environ.items() if pair[0] != "PYTHONPATH")
)
descriptors = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [out[1], err[1]]))]
ours.sendmsg([order[:1]], descriptors)
ours.sendall(order[1:])
os.close(out[1])
os.close(err[1])
sys.stdout.write("new: %r %r\n" % (read(out[0]), read(err[0])))
sys.stdout.write("old: %r %r\n" % standby.communicate())
sys.stdout.write("code: %d\n" % standby.returncode)
