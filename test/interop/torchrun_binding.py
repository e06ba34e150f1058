"""Asks torchrun's own code for bindings on machines that are given as files.

stdin: a list of {files, allowed, gpus}, JSON. stdout: for each, mode -> a CPU list for each GPU, or the
name of the error.
"""

import builtins
import io
import json
import sys
import types

import torch
from torch.numa import binding


class Os:
    def __init__(self, files):
        self.path = types.SimpleNamespace(join=lambda *parts: "/".join(parts))
        self.files = files

    def listdir(self, folder):
        inside = [path[len(folder) + 1 :] for path in self.files if path.startswith(folder + "/")]
        return sorted({path.split("/")[0] for path in inside})


def use(machine):
    files = machine["files"]

    def read(path, *args):
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    binding.open = read
    binding.os = Os(files)
    binding._get_allowed_cpu_indices_for_current_thread = lambda: set(machine["allowed"])
    binding._get_gpu_count = lambda: len(machine["gpus"])
    torch.cuda.get_device_properties = lambda gpu: types.SimpleNamespace(
        pci_domain_id=0, pci_bus_id=machine["gpus"][gpu], pci_device_id=0
    )


def ask(mode, gpu):
    options = binding.NumaOptions(affinity_mode=binding.AffinityMode(mode))
    try:
        cpus = binding._get_logical_cpus_to_bind_to(gpu_index=gpu, numa_options=options)
        return binding._get_ranges_str_from_ints(cpus)
    except Exception as error:
        return type(error).__name__


outcomes = []
for machine in json.load(sys.stdin):
    use(machine)
    modes = [mode.value for mode in binding.AffinityMode]
    outcomes.append({mode: [ask(mode, gpu) for gpu in range(len(machine["gpus"]))] for mode in modes})
builtins.print(json.dumps(outcomes))
