# Prints all that a script can observe of its interpreter, one thing a line, before, between and after its imports.
import sys

seen = set()


def say(name, value):
    sys.stdout.write("%s: %s\n" % (name, ascii(value)))


def say_changes():
    say("argv", sys.argv)
    say("orig_argv", getattr(sys, "orig_argv", None))
    say("path", sys.path)
    # A codec that the interpreter has cached isn't imported again.
    say("modules", [each for each in sys.modules if not each.startswith("encodings.")])
    say("path cache", sorted(sys.path_importer_cache))
    say("meta path", [getattr(each, "__name__", type(each).__name__) for each in sys.meta_path])
    say("path hooks", [getattr(each, "__qualname__", type(each).__name__) for each in sys.path_hooks])
    say("filters", sys.modules["_warnings"].filters)
    say("environment", list(os.environ.items()))
    say("bytes of the environment", os.environb)
    say("class of the environment", (type(os.environ).__name__, type(os.environ).__module__))
    say("same", os.environ._data is sys.modules["posix"].environ)


say("main", {name: str(value) for name, value in globals().items() if name not in ("say", "say_changes", "seen")})
say("loader", type(__loader__).__name__)
say("spec", __spec__ and (__spec__.name, __spec__.origin, __spec__.parent))
say("main module", sys.modules["__main__"].__dict__ is globals())
say("sys", dir(sys))
say("flags", sys.flags)
say("prefixes", (sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.platlibdir))
say("x options", (sys._xoptions, sys.warnoptions))
say("hash", hash("seed"))
say("limits", (sys.getrecursionlimit(), sys.getswitchinterval(), sys.getdlopenflags()))
say("hooks", (sys.excepthook is sys.__excepthook__, sys.gettrace(), sys.getprofile()))
say("unraisable", sys.unraisablehook is sys.__unraisablehook__)
frame, depth = sys._getframe(), []
while frame:
    depth.append((frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno))
    frame = frame.f_back
say("frames", depth)
for stream in (sys.stdin, sys.stdout, sys.stderr):
    say(
        "stream",
        (stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering, stream.write_through),
    )
    say("raw", (stream.fileno(), stream.isatty(), stream.buffer.name, type(stream.buffer).__name__))
import builtins

say("builtins", dir(builtins))
say("import", repr(builtins.__import__))

import os

# Before the environment is listed: what is written behind that may be made of a rank.
os.environ["SET_BY_SCRIPT"] = "before the imports"

say_changes()
say("cwd", os.getcwd())
for name in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        say("descriptor", (name, os.readlink("/proc/self/fd/" + name).split(":")[0], os.get_inheritable(int(name))))
    except OSError:
        say("descriptor", (name, "gone"))
kept = ("Umask", "Groups", "SigBlk", "SigIgn", "NoNewPrivs", "Seccomp", "Cpus_allowed_list", "Mems_allowed_list", "CapEff")
for line in open("/proc/self/status"):
    if line.startswith(kept):
        say("status", line)
caught = [line for line in open("/proc/self/status") if line.startswith("SigCgt")][0].split()[1]
# 32 and 33 are the C library's, once it has had threads.
say("caught", int(caught, 16) & ~(3 << 31))
say("process limits", open("/proc/self/limits").read())
say("command line", open("/proc/self/cmdline", "rb").read())
say("name", open("/proc/self/comm").read())
say("affinity", os.sched_getaffinity(0))
try:
    # That of each mapping, and so of those that come: a path, or what it's for, follows.
    say("memory policy", sorted({line.split()[1] for line in open("/proc/self/numa_maps")}))
except OSError:
    say("memory policy", "not shown")
say("priority", os.getpriority(os.PRIO_PROCESS, 0))
say("session", (os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()))

import atexit

say("atexit", atexit._ncallbacks())
import importlib.util

for name in ("json", "argparse", "nonesuch", "unittest"):
    spec = importlib.util.find_spec(name)
    say("find_spec", spec and (spec.name, spec.origin, type(spec.loader).__name__, spec.submodule_search_locations, spec.cached))
say_changes()

import argparse
import json

say("json", (json.__spec__.name, json.__spec__.origin, type(json.__loader__).__name__, json.__file__, json.__cached__))
say("initializing", json.__spec__._initializing)
say("decoder", json.decoder is sys.modules["json.decoder"])
say("tool", hasattr(json, "tool"))
from json import tool

say("tool", hasattr(json, "tool"))
say_changes()
import signal

for number in sorted(signal.valid_signals()):
    say("signal", (number, str(signal.getsignal(number))))
say("mask", signal.pthread_sigmask(signal.SIG_BLOCK, []))
say("timers", [signal.getitimer(each) for each in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)])
import resource

say("resource", [resource.getrlimit(each) for each in range(16)])
import locale

say("locale", (locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(False), sys.getfilesystemencoding()))
import gc

say("gc", (gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count(), len(gc.garbage)))
import faulthandler

say("faulthandler", faulthandler.is_enabled())
import threading

say("threads", [each.name for each in threading.enumerate()])
say("main thread", threading.main_thread() is threading.current_thread())
import random

say("random differs", random.random() != random.random())
random.seed(7)
say("random", (random.random(), random.getstate()[1][:3]))
import logging

say("logging", (logging.root.level, logging.root.handlers))
import time

say("zone", (time.tzname, time.timezone))
import subprocess

say("C environment", subprocess.run(["/usr/bin/env", "-0"], stdout=subprocess.PIPE).stdout.split(b"\0"))
program = "import os, sys; print(sys.path, sorted(sys.modules), sorted(os.environ.items()), os.listdir('/proc/self/fd'))"
say("a child", subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, close_fds=False).stdout)
import ctypes

libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
say("getenv", [libc.getenv(name) for name in (b"RANK", b"PYTHONPATH", b"REGROUP_STANDBY", b"SET_BY_SCRIPT", b"LC_CTYPE")])
say("dumpable", libc.prctl(3, 0, 0, 0, 0))
import inspect

say("source", inspect.getsource(say))
say("file", inspect.getsourcefile(sys.modules["__main__"]))
import pickle


class Mine:
    pass


say("pickle", pickle.dumps(Mine()))
say("loads", type(pickle.loads(pickle.dumps(Mine()))) is Mine)
import unittest.mock
import warnings

warnings.warn("a warning")
warnings.warn("deprecated", DeprecationWarning)
say_changes()
say("sitecustomize", getattr(sys.modules.get("sitecustomize"), "__file__", None))
say("atexit", atexit._ncallbacks())
say("importlib", sorted(each for each in dir(importlib) if not each.startswith("_")))
say("stdin", sys.stdin.read())
atexit.register(say, "at exit", "first")
atexit.register(say, "at exit", "second")
