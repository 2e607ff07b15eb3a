"""The C allocator, told to keep its memory.

glibc hands large blocks back to the kernel after every use, so a training step pays for page faults on the same tensors
again and again. Three settings stop that. They are of the whole process and cost resident memory, so a command-line
process switches them on for training, and a Python program only by calling ``keep_memory`` before it allocates.
"""

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_state = {"kept": False}


def is_available() -> bool:
    """Whether ``keep_memory`` can work here: under glibc, unless MLPCONV_ALLOCATOR=system."""
    return os.environ.get("MLPCONV_ALLOCATOR") != "system" and platform.libc_ver()[0] == "glibc"


def keep_memory() -> bool:
    """Switch the allocator over; whether it is switched. Does nothing outside glibc, or with
    MLPCONV_ALLOCATOR=system."""
    if _state["kept"] or not is_available():
        return _state["kept"]
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 * 2**20))
    _state["kept"] = all(mallopt(option, value) == 1 for option, value in settings)
    return _state["kept"]


def is_kept() -> bool:
    """Whether ``keep_memory`` has switched this process over."""
    return _state["kept"]
