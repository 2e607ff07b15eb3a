"""Starting the processes that train one run, with PyTorch's launcher: what ``torchrun`` starts too."""

import logging
import os
import signal
import sys
import tempfile
import uuid

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mlpconv import hardware

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""The signals that PyTorch's launcher handles, also after its end."""


def launch(count: int, arguments: list[str]) -> int:
    """Start ``count`` processes on this machine that execute ``mlpconv ARGUMENTS``, and wait until they have ended.

    If one fails, the launcher ends the others. A signal to this process is passed on to all.

    Returns:
        The exit code of the first process that failed, 128 + the signal that this process received, or 0.
    """
    # Each process says what is wrong itself; the launcher would add tracebacks.
    for name in [*logging.root.manager.loggerDict]:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, hardware.cpu_count() // count)))
    if sys.platform.startswith("linux"):  # not the address of the machine's name, which may not be reachable
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory(prefix="mlpconv-") as directory:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=directory),
        )
        handlers = {number: signal.getsignal(number) for number in _HANDLED}
        try:
            elastic_launch(config, sys.executable)("-m", "mlpconv", *arguments)
        except SignalException as error:
            return 128 + error.sigval
        except ChildFailedError as error:
            return _report(error, count)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return 0


def _report(error: ChildFailedError, count: int) -> int:
    """Name the processes that a signal killed, since they could not say anything; the exit code."""
    # By SIGTERM the launcher itself ends the processes that did not fail.
    failed = {rank: failure for rank, failure in error.failures.items() if failure.exitcode != -signal.SIGTERM}
    killed = {rank: failure for rank, failure in (failed or error.failures).items() if failure.exitcode < 0}
    for rank, failure in sorted(killed.items()):
        number = -failure.exitcode
        name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
        hint = "; the system does that if no memory is left" if number == signal.SIGKILL else ""
        print(
            f"error: rank {rank} of {count} processes (process {failure.pid}) was killed by {name}{hint}",
            file=sys.stderr,
            flush=True,
        )
    if killed:
        return 3
    return min(failed.items())[1].exitcode
