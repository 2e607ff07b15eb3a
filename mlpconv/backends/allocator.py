"""Settings of the C allocator that keep freed memory in the process.

glibc returns large blocks to the kernel after every use, so that each training step has page faults on the same tensors
again. Three settings prevent that. They apply to the whole process and increase its resident memory; the command line
sets them for training, and a Python program can call ``keep_memory`` before it allocates.
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
    """Change the settings.

    Returns:
        Whether they are in effect: not outside glibc, and not with MLPCONV_ALLOCATOR=system.

    Example:
        >>> import mlpconv
        >>> kept = mlpconv.keep_memory()  # call it before the first tensor is allocated
    """
    if _state["kept"] or not is_available():
        return _state["kept"]
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 * 2**20))
    _state["kept"] = all(mallopt(option, value) == 1 for option, value in settings)
    return _state["kept"]


def is_kept() -> bool:
    """Whether ``keep_memory`` has changed the settings of this process."""
    return _state["kept"]
