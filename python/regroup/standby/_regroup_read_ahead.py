"""Has the kernel read what a list of imports names, so that an interpreter that starts meanwhile finds it in memory: -I -S … LIST.

Started at the lowest priority, and ended when it takes long; nobody waits for it, and nothing comes of its end.
"""
import json
import os
import stat
import sys
from importlib._bootstrap_external import cache_from_source

# Of the memory that's available, for what may be needed by none.
SHARE = 4
BLOCK = 4 << 20
buffer = bytearray(BLOCK)


def main(path):
    with open(path) as file:
        files = json.load(file)["files"]
    room = available() // SHARE
    for each in files:
        for candidate in candidates(each):
            size = read_ahead(candidate, room)
            if size is not None:
                room -= size
                break


def candidates(path):
    """What an import opens: the compiled module, where there is one."""
    if path.endswith(".py"):
        yield cache_from_source(path)
    yield path


def read_ahead(path, room):
    """Bytes that were read; None where there's no such file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > room:
            return 0
        # One block is read while the next one is on its way; what's read is in memory then, on any file system.
        for at in range(0, status.st_size, BLOCK):
            os.posix_fadvise(file, at + BLOCK, BLOCK, os.POSIX_FADV_WILLNEED)
            os.preadv(file, [buffer], at)
        return status.st_size
    except OSError:
        return 0
    finally:
        os.close(file)


def available():
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
