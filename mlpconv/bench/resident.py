"""Resident memory of this process, as Linux tells it."""

from pathlib import Path


def peak_bytes() -> int | None:
    """The most that was ever resident; None where the system does not say.

    getrusage says it too, but there a new program begins with the peak of the one that started it.
    """
    return _status("VmHWM")


def now_bytes() -> int | None:
    """What is resident now; None where the system does not say."""
    return _status("VmRSS")


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
