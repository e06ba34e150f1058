"""torchrun of PyTorch 1.13, made to start on Python ≥ 3.11.

That pair cannot read the stream values 0 and 3, and 0 is the default: since 3.11, iterating a Flag
skips its zero and its composite members, which is how 1.13 looks them up; every start dies with
AttributeError. This replaces that one parsing function and nothing else: the timings are 1.13's own.

Source: pytorch v1.13, torch/distributed/elastic/multiprocessing/api.py, Std.from_str
"""
import re
import sys

from torch.distributed.elastic.multiprocessing import api
from torch.distributed.run import main


def from_str(cls, text):
    def one(value):
        return cls(int(value))

    if re.fullmatch(r"[0-3]", text):
        return one(text)
    if re.fullmatch(r"\d:[0123](,\d:[0123])*", text):
        return {int(rank): one(value) for rank, value in (pair.split(":") for pair in text.split(","))}
    raise ValueError(f"{text} does not match the stream grammar")


api.Std.from_str = classmethod(from_str)
sys.exit(main())
