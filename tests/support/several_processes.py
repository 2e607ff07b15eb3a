"""Several processes that train one run, as a launcher would start them, and the images that each of them took."""

import re
import socket
from collections import Counter

import numpy as np

from mlpconv.runs.files import read_tensors

COUNTED = """
import sys
from mlpconv.backends.pytorch.model import TorchModel
real_gather = TorchModel._gather
def gather(self, chosen, indices):
    if type(chosen).__name__ == "Tensor":  # not where only the memory of a step is predicted
        print("took", *chosen.tolist(), file=sys.stderr, flush=True)
    return real_gather(self, chosen, indices)
TorchModel._gather = gather
from mlpconv.jobs.prepared import PreparedJob
real_forecast = PreparedJob.forecast
def forecast(self, *arguments):
    expected = real_forecast(self, *arguments)
    print("forecast", file=sys.stderr, flush=True)
    return expected
PreparedJob.forecast = forecast
"""
"""A program that prints the indices of the images that each step of a process takes."""


def start_ranks(processes, count, *arguments, programs=None, program="", **environment):
    """Start ``mlpconv ARGUMENTS`` in ``count`` processes.

    Args:
        processes: The server that starts them.
        count: The number of processes.
        arguments: The arguments of each.
        programs: What the process of a rank executes first, by rank, after ``program``.
        program: What every process executes first.
        environment: Variables of the environment of each.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    place |= {"MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    return [
        processes.start(
            *arguments, program=program + (programs or {}).get(rank, ""), **place, **environment, RANK=str(rank)
        )
        for rank in range(count)
    ]


def run_ranks(processes, count, *arguments, **options):
    """Start them, or one process without a launcher, and wait until they have ended."""
    if count == 1:
        program = options.pop("program", "") + options.pop("programs", {}).get(0, "")
        return [processes.run(*arguments, program=program, **options)]
    return [started.wait() for started in start_ranks(processes, count, *arguments, **options)]


def images_taken(ended):
    """How often each image was taken in training by the processes that ended.

    The steps of forecasts, whose number depends on the clock, do not count.
    """
    lines = ended[0].err.partition("forecast\n")[2].splitlines()
    count = sum(line.startswith("took ") for line in lines)
    taken = Counter()
    for each in ended:
        steps = [line.split()[1:] for line in each.err.splitlines() if line.startswith("took ")][-count:]
        taken.update(int(index) for step in steps for index in step)
    return taken


def assert_same_training(path, other, tolerance=2e-4):
    """Assert that two runs have equal weights and histories but for rounding.

    The bias of a convolution before a normalization is left out, with the mean that it moves: it changes no output, so
    its gradient is nothing but rounding.
    """
    newest = [max((each / "checkpoint").glob("epoch-*.safetensors")) for each in (path, other)]
    assert newest[0].name == newest[1].name
    states = [read_tensors(each)[0] for each in newest]
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        if not re.search(r"block1\.(conv\.bias|norm\.running_mean)", name):
            one, two = (state[name].astype(np.float64) for state in states)
            scale = max(np.abs(two).max(initial=0), 1e-2)
            assert np.abs(one - two).max(initial=0) <= tolerance * scale, name
