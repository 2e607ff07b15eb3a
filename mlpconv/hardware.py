"""The machine's processor and memory, read without any framework."""

import logging
import os
import platform
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Linux' names of the instructions for bfloat16: AVX-512 and AMX on x86-64, bf16 on 64-bit Arm."""
_ISA_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from multiplying in bfloat16."""
_THREAD_POOLS, _SPARE_THREADS = 2, 2
"""Libraries that start a thread for each processor (OpenMP and OpenBLAS), and threads that a command starts itself."""

_log = logging.getLogger(__name__)


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


def describe_processor(threads: int, processes: int = 1) -> str:
    """A readable description of the processor as a device: "cpu (AMD EPYC 9R14, 2 threads)".

    Args:
        threads: The threads of each process.
        processes: The processes that train together.
    """
    several = f"{processes} processes of " if processes > 1 else ""
    return f"cpu ({processor()}, {several}{threads} thread{'s' * (threads != 1)})"


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; without them, bfloat16 is slower than float32.

    Respects ONEDNN_MAX_CPU_ISA, the environment variable that limits oneDNN to older instructions.
    """
    return allows_bfloat16() and bool(_BFLOAT16_FLAGS & _flags())


def allows_bfloat16() -> bool:
    """Whether ONEDNN_MAX_CPU_ISA allows instructions for bfloat16, whatever the processor has."""
    return instruction_limit() not in _ISA_WITHOUT_BFLOAT16


def has_bfloat16_convolutions() -> bool:
    """Whether oneDNN has convolutions in bfloat16 for this processor, possibly slower than those in float32."""
    if instruction_limit() in ("SSE41", "AVX", "AVX2", "AVX2_VNNI"):
        return False
    return bool(_flags() & {"avx_ne_convert", "bf16"}) or _flags() >= {"avx512bw", "avx512vl", "avx512dq"}


def has_int8_dot_products() -> bool:
    """Whether this processor multiplies and adds 8-bit integers without overflow: VNNI, or any that is not x86."""
    flags = _flags()
    return bool(flags & {"avx512_vnni", "avx_vnni"}) or not flags & {"sse2"}


def instruction_limit() -> str:
    """The newest instructions that ONEDNN_MAX_CPU_ISA allows, such as "AVX2"; "" where it sets no limit."""
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()


def _flags() -> set[str]:
    info = _cpuinfo()
    return set((info.get("flags") or info.get("Features") or "").split())


def openmp_threads() -> int:
    """The number of threads of a library that uses OpenMP: OMP_NUM_THREADS, by default one per processor."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() and int(first) else cpu_count()


def cpu_count() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def started_threads(most: int) -> int:
    """How many more threads this process can have now, at most ``most``. They are started, and end at once.

    Outside Linux, nothing is tried, and ``most`` is returned.
    """
    if not sys.platform.startswith("linux"):
        return most
    import ctypes

    # Not Python's threads: for each of them, the allocator would reserve 64 MiB of address space, and keep it.
    libc, threads = ctypes.CDLL(None), []
    gate = (ctypes.c_long * 16)()  # a sem_t has at most half as many bytes
    libc.sem_init(gate, 0, 0)
    for _ in range(most):
        thread = ctypes.c_ulong()
        if libc.pthread_create(ctypes.byref(thread), None, libc.sem_wait, gate):
            break
        threads.append(thread)
    for _ in threads:
        libc.sem_post(gate)
    for thread in threads:
        libc.pthread_join(thread, None)
    return len(threads)


@cache
def fit_threads() -> int | None:
    """Make libraries use fewer threads where the system does not allow as many as there are processors.

    OpenMP and OpenBLAS end the process if a thread cannot be started. They read the environment, which this changes,
    when they are loaded.

    Returns:
        The threads that a library uses from now on; None where nothing had to be changed.
    """
    wanted = openmp_threads()
    if wanted == 1:
        return None
    needed = _THREAD_POOLS * (wanted - 1) + _SPARE_THREADS
    if (possible := started_threads(needed)) == needed:
        return None
    threads = max(possible - _SPARE_THREADS, 0) // _THREAD_POOLS + 1
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    _log.warning(
        "threads: the system allows %d more, so each library uses %d instead of %d; raise the limit on processes "
        "(ulimit -u) or on memory (ulimit -v), or close other programs",
        possible,
        threads,
        wanted,
    )
    return threads


def memory_limit() -> int | None:
    """Bytes of memory that this process may use, within a container's limit; None where that is not known."""
    try:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    return min([limit, *(most for most, _ in _control_groups())])


def available_memory() -> int | None:
    """Bytes of memory that are free for this process now, without swapping; None where that is not known.

    Respects the limits of its control groups (a container's, a service's) and those that ``ulimit -v`` sets.
    """
    machine = _field(_MEMINFO, "MemAvailable")
    free = [max(0, most - used) for most, used in (*_control_groups(), *_process_limits())]
    return min(free if machine is None else [machine, *free], default=None)


class _Group(NamedTuple):
    """The file names of a version of control groups."""

    root: str
    limit: str
    used: str
    cached: str
    """The bytes of cached files, which the kernel frees when memory is needed and which do not count as used."""
    controller: str


_GROUPS = (
    _Group("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", ""),
    _Group("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory"),
)


def _control_groups() -> Iterator[tuple[int, int]]:
    """(limit, used) bytes of each control group of this process that has a limit, and of the groups around it."""
    text = _read(Path("/proc/self/cgroup")) or ""
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2}
    for group in _GROUPS:
        root = Path(group.root)
        # In a container, the path may be the host's. Then only the root exists, and it is the container's group.
        innermost = root / paths.get(group.controller, "/").lstrip("/")
        for folder in (innermost, *innermost.parents):
            if not folder.is_relative_to(root):
                break
            limit = (_read(folder / group.limit) or "").strip()
            if limit.isdigit():
                used = int(_read(folder / group.used) or 0)
                yield int(limit), used - (_field(folder / "memory.stat", group.cached) or 0)


def _process_limits() -> Iterator[tuple[int, int]]:
    """(limit, used) bytes of each limit that ``ulimit`` sets for this process."""
    try:
        import resource
    except ImportError:  # not Unix
        return
    for kind, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit, used = resource.getrlimit(kind)[0], _field(_STATUS, field)
        if limit != resource.RLIM_INFINITY and used is not None:
            yield limit, used


def limit_memory() -> None:
    """Let an allocation fail, from now on, that needs more memory than is free, with what can be swapped.

    Without a limit, the system grants it, and ends this process or another one when the memory is used.
    """
    free, used = available_memory(), _field(_STATUS, "VmData")
    if free is None or used is None:  # not Linux
        return
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + free + (_field(_MEMINFO, "SwapFree") or 0)
    if before == resource.RLIM_INFINITY or limit < before:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def free_address_space() -> int | None:
    """Bytes that this process may still map, within the limit of ``ulimit -v``; None without such a limit."""
    try:
        import resource
    except ImportError:  # not Unix
        return None
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _field(_STATUS, "VmSize")
    return None if limit == resource.RLIM_INFINITY or used is None else max(0, limit - used)


_STATUS, _MEMINFO = Path("/proc/self/status"), Path("/proc/meminfo")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # not Linux, or no such control group
        return None


def _field(path: Path, name: str) -> int | None:
    """Bytes from a line such as ``MemAvailable: 12 kB`` or ``inactive_file 12288``; None where there is none."""
    for line in (_read(path) or "").splitlines():
        words = line.split()
        if words and words[0].rstrip(":") == name:
            return int(words[1]) * (1024 if words[2:] == ["kB"] else 1)
    return None


def peak_resident_bytes() -> int | None:
    """The peak resident memory of this process; None where the system does not report it.

    getrusage reports it too, but there a new program starts with the peak of the program that started it.
    """
    return _field(_STATUS, "VmHWM")


def resident_bytes() -> int | None:
    """The resident memory of this process now; None where the system does not report it."""
    return _field(_STATUS, "VmRSS")
