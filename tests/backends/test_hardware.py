"""What the machine is said to be, on this machine and on others that are made up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpconv import hardware

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
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

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


@pytest.mark.parametrize(
    ("text", "bfloat16"),
    [
        (X86.format(extra="avx512_bf16"), True),
        (X86.format(extra="amx_bf16 amx_tile"), True),
        (X86.format(extra=""), False),
        (ARM.format(extra="bf16"), True),
        (ARM.format(extra="i8mm"), False),
        (None, False),
    ],
)
def test_bfloat16_is_read_from_the_processors_flags(cpuinfo, text, bfloat16):
    cpuinfo(text)
    assert hardware.has_bfloat16() is bfloat16


@pytest.mark.parametrize(
    ("limit", "bfloat16"),
    [
        ("AVX2", False),
        ("avx512_core", False),
        ("AVX512_CORE_BF16", True),
        ("AVX512_CORE_AMX", True),
        ("", True),
    ],
)
def test_a_limit_on_the_instructions_of_onednn_is_respected(cpuinfo, monkeypatch, limit, bfloat16):
    cpuinfo(X86.format(extra="avx512_bf16"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert hardware.has_bfloat16() is bfloat16


@pytest.mark.parametrize(
    ("extra", "limit", "expected"),
    [
        ("avx2", "", False),
        ("avx512bw avx512vl avx512dq", "", True),
        ("avx512bw avx512vl avx512dq", "AVX2", False),
        ("avx512bw avx512vl avx512dq", "AVX512_CORE", True),
        ("avx_ne_convert", "", True),
    ],
)
def test_convolutions_in_bfloat16_need_wide_vectors_or_conversions(cpuinfo, monkeypatch, extra, limit, expected):
    cpuinfo(X86.format(extra=extra))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert hardware.has_bfloat16_convolutions() is expected


def test_the_name_is_that_of_the_first_processor(cpuinfo):
    cpuinfo(X86.format(extra=""))
    assert hardware.processor() == "Maker CPU @ 2 GHz"


def test_a_machine_without_cpuinfo_has_a_name(cpuinfo):
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
def test_the_lower_limit_of_a_container_is_used(monkeypatch, limit, expected):
    def read(path: Path, **_: object) -> str:
        if limit is None or path.name != "memory.max":
            raise FileNotFoundError(path)
        return limit + "\n"

    monkeypatch.setattr(Path, "read_text", read)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert hardware.memory_limit() == (expected or whole)


LIMITED = {
    "/proc/meminfo": "MemTotal: 900 kB\nMemAvailable:    800 kB\n",
    "/proc/self/cgroup": "0::/user/service\n",
    "/sys/fs/cgroup/user/memory.max": "500000\n",
    "/sys/fs/cgroup/user/memory.current": "300000\n",
    "/sys/fs/cgroup/user/memory.stat": "anon 1\ninactive_file 100000\n",
    "/sys/fs/cgroup/user/service/memory.max": "max\n",
}
"""Control groups version 2: the file cache counts as free, and the limit is that of the parent group."""
OLD = {
    "/proc/meminfo": "MemAvailable: 800 kB\n",
    "/proc/self/cgroup": "4:memory:/of/the/host\n1:cpu:/\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "400000\n",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes": "150000\n",
    "/sys/fs/cgroup/memory/memory.stat": "cache 9\ntotal_inactive_file 50000\n",
}
"""Version 1 in a container, where the group's path is the host's."""
FULL = LIMITED | {"/sys/fs/cgroup/user/memory.current": "700000\n"}


@pytest.mark.parametrize(
    ("files", "limit", "left"),
    [
        (LIMITED, 500000, 300000),
        (OLD, 400000, 300000),
        (FULL, 500000, 0),
        ({"/proc/meminfo": "MemAvailable: 800 kB\n"}, None, 800 * 1024),
        ({}, None, None),
    ],
)
def test_the_memory_left_in_a_container(monkeypatch, files, limit, left):
    def read(path: Path, **_: object) -> str:
        try:
            return files[str(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(hardware, "_process_limits", lambda: [])
    assert hardware.available_memory() == left
    if limit:
        assert hardware.memory_limit() == limit


MEASURE = "from mlpconv.hardware import available_memory; print(available_memory())"


@pytest.mark.skipif(sys.platform != "linux", reason="the files are Linux's")
def test_ulimit_is_respected():
    free = int(subprocess.check_output([sys.executable, "-c", MEASURE]))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29)); "
    limited = int(subprocess.check_output([sys.executable, "-c", limit + MEASURE]))
    assert 0 < limited < 2**29 < free


@pytest.fixture
def control_group():
    """A memory control group of version 1 below our own, which takes a process by a line in ``cgroup.procs``."""
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    place = Path(f"/sys/fs/cgroup/memory{own.get('memory', '/')}", f"mlpconv-test-{os.getpid()}")
    try:
        place.mkdir()
        (place / "memory.limit_in_bytes").write_text(str(2**28))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    yield place
    place.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_real_control_group_is_respected(control_group):
    enter = f"open('{control_group}/cgroup.procs', 'w').write('0'); "
    left = int(subprocess.check_output([sys.executable, "-c", enter + MEASURE]))
    assert 2**27 < left <= 2**28
