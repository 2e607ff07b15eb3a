"""The allocator switch, each time in a separate process, since it cannot be reverted."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from mlpconv.backends.allocator import is_kept, keep_memory
assert not is_kept()
{switch}
def touch():
    for _ in range(20):
        np.ones(6_000_000)  # 48 MB: without the switch, fetched from the kernel and given back every time
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(is_kept(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(switch: str, **environment: str) -> tuple[bool, int]:
    command = [sys.executable, "-c", PROGRAM.format(switch=switch)]
    # Huge pages would hide what is counted here.
    environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path), "NUMPY_MADVISE_HUGEPAGE": "0", **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    kept, count = done.stdout.split()
    return kept == "True", int(count)


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switch is glibc's")


@glibc
def test_freed_memory_is_reused():
    plain_kept, plain = faults("")
    kept, switched = faults("assert keep_memory() and keep_memory()")
    assert (plain_kept, kept) == (False, True)
    assert plain > 1000
    assert switched < 100


def test_the_environment_can_forbid_the_switch():
    kept, _ = faults("assert not keep_memory()", MLPCONV_ALLOCATOR="system")
    assert not kept
