"""What the machine is said to be, on this machine and on others that are made up."""

import os
import sys
from pathlib import Path

import pytest

from mlpconv.backends import hardware

X86 = """processor\t: 0
model name\t: Maker CPU @ 2 GHz
flags\t\t: fpu sse2 avx512f {extra}

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = """processor\t: 0
Features\t: fp asimd {extra}
CPU implementer\t: 0x41
"""


@pytest.fixture
def cpuinfo(monkeypatch):
    def pretend(text: str | None) -> None:
        def read(path: Path, **_: object) -> str:
            assert path == Path("/proc/cpuinfo")
            if text is None:
                raise FileNotFoundError(path)
            return text

        monkeypatch.setattr(Path, "read_text", read)
        hardware._cpuinfo.cache_clear()

    yield pretend
    monkeypatch.undo()
    hardware._cpuinfo.cache_clear()


@pytest.mark.parametrize(("text", "bfloat16"), [
    (X86.format(extra="avx512_bf16"), True),
    (X86.format(extra="amx_bf16 amx_tile"), True),
    (X86.format(extra=""), False),
    (ARM.format(extra="bf16"), True),
    (ARM.format(extra="i8mm"), False),
    (None, False),
])  # fmt: skip
def test_bfloat16_is_read_from_the_processors_flags(cpuinfo, text, bfloat16):
    cpuinfo(text)
    assert hardware.has_bfloat16() is bfloat16


def test_the_first_processor_gives_its_name(cpuinfo):
    cpuinfo(X86.format(extra=""))
    assert hardware.processor() == "Maker CPU @ 2 GHz"


def test_a_machine_without_a_list_of_processors_still_has_a_name(cpuinfo):
    cpuinfo(None)
    assert hardware.processor()


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_processors_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert hardware.cpu_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert hardware.cpu_count() == len(allowed)


@pytest.mark.parametrize(("limit", "expected"), [("1048576", 1048576), ("max", None), (None, None), ("9" * 19, None)])
def test_a_containers_limit_counts_where_it_is_lower(monkeypatch, limit, expected):
    def read(path: Path, **_: object) -> str:
        if limit is None or path.name != "memory.max":
            raise FileNotFoundError(path)
        return limit + "\n"

    monkeypatch.setattr(Path, "read_text", read)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert hardware.memory_limit() == (expected or whole)
