"""Samples of a store's operations, from Python: over shared memory and over TCP, in turns.

`shm_client.py @STORE PORT ROUNDS`, with REGROUP_SHM. Prints a line `OPERATION TRANSPORT NANOSECONDS...` for each.
"""

import socket
import struct
import sys
import time

import regroup.store

PER_ROUND = 100
samples = {}


def string(text):
    return struct.pack("<Q", len(text)) + text


class Tcp:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(bytes([0]) + struct.pack("<I", 0x3C85F7CE))

    def get(self, key):
        self.socket.sendall(b"\x03" + string(key))
        size = struct.unpack("<Q", self.read(8))[0]
        return self.read(size)

    def set(self, key, value):
        self.socket.sendall(b"\x01" + string(key) + string(value))

    def add(self, key, delta):
        self.socket.sendall(b"\x04" + string(key) + struct.pack("<q", delta))
        return struct.unpack("<q", self.read(8))[0]

    def read(self, size):
        return self.socket.recv(size, socket.MSG_WAITALL)


def measure(what, operation, batch=1, afterwards=None):
    times = samples.setdefault(what, [])
    for _ in range(PER_ROUND):
        begun = time.perf_counter_ns()
        for _ in range(batch):
            operation()
        times.append((time.perf_counter_ns() - begun) // batch)
        if afterwards:
            afterwards()


def main():
    store, tcp = regroup.store.Client.connect(sys.argv[1]), Tcp(int(sys.argv[2]))
    key, value = b"hot", b"0123456789abcdef"
    wire = b"/" + key
    store.set(key, value)
    for turn in range(-1, int(sys.argv[3])):
        assert store.get(key) == tcp.get(wire) == value
        measure("get regroup", lambda: store.get(key), batch=20)
        measure("get tcp", lambda: tcp.get(wire))
        measure("set regroup", lambda: store.set(key, value), afterwards=lambda: store.get(key))
        measure("set tcp", lambda: tcp.set(wire, value), afterwards=lambda: tcp.get(wire))
        measure("add regroup", lambda: store.add(b"count", 1))
        measure("add tcp", lambda: tcp.add(b"/count", 1))
        if turn < 0:
            samples.clear()
    for what, times in samples.items():
        print(what, *times)


main()
