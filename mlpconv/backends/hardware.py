"""What this machine is, read without any framework."""

import os
import platform
from functools import cache
from pathlib import Path

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls bfloat16 arithmetic: AVX-512 and AMX on x86-64, bf16 on 64-bit Arm."""


@cache
def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in reversed(list(pairs))}


def processor() -> str:
    """The processor's name."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16; where it does not, bfloat16 is slower than float32."""
    info = _cpuinfo()
    return bool(_BFLOAT16_FLAGS & set((info.get("flags") or info.get("Features") or "").split()))


def cpu_count() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_limit() -> int | None:
    """Bytes of memory that this process may use, a container's limit counted; None where it cannot be known."""
    try:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(place).read_text(encoding="utf-8").strip()
        except OSError:  # no such control group
            continue
        if text.isdigit():
            limit = min(limit, int(text))
    return limit


def peak_resident_bytes() -> int | None:
    """The most memory that this process ever had resident; None where the system does not say.

    getrusage says it too, but there a new program begins with the peak of the one that started it.
    """
    return _resident("VmHWM")


def resident_bytes() -> int | None:
    """The memory of this process that is resident now; None where the system does not say."""
    return _resident("VmRSS")


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
