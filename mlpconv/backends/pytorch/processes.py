"""The processes that train one run with PyTorch: how they are connected, and what they tell each other.

The first process announces every step, and every change of the weights, to the others (``tell``), which repeat it. Only
this module knows the process group; mlpconv.backends.pytorch.parallel has the model whose steps the processes share.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from mlpconv.backends.base import Images, Labels, Model
from mlpconv.backends.processes import Place
from mlpconv.errors import ProcessLost

TIMEOUT = timedelta(seconds=45)
"""How long a process waits for the others within a step."""
_WITHOUT_LIMIT = timedelta(days=365)
"""How long it waits for the next step: the first process may evaluate for hours."""
_BEAT_SECONDS, _SILENT_SECONDS = 1.0, 4.0
"""How often each process gives a sign of life; one that gave none in this time is lost."""

_joined: "list[ProcessGroup]" = []


def joined() -> "ProcessGroup | None":
    """The process group that this process is connected to; None if it trains alone."""
    return _joined[0] if _joined else None


class ProcessGroup:
    """See ``mlpconv.backends.processes.Group``."""

    def __init__(self, place: Place) -> None:
        self.place = place
        store = next(rendezvous("env://", place.rank, place.size, timeout=TIMEOUT))[0]
        # A restarted launcher uses the same store again.
        self._store: Any = PrefixStore(f"mlpconv/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        self._commands: dist.ProcessGroup | None = None
        self._signs: Any = None
        self._broken = False
        if "TORCHELASTIC_RUN_ID" in os.environ:
            threading.Thread(target=self._watch_launcher, daemon=True, name="mlpconv-launcher").start()

    def lead(self, device: str, job: bytes) -> None:
        """In the first process: give the job to the others and connect them all."""
        self._store.set("job", job)
        self._connect(device)

    def wait(self) -> bytes | None:
        """In the other processes: the job, once it is there; None if the first process has none for them."""
        while True:
            try:
                self._store.wait(["job"], timedelta(seconds=10))
            except dist.DistStoreError:  # not yet
                continue
            except RuntimeError:
                raise ProcessLost("rank 0 or the launcher has ended") from None
            return self._store.get("job") or None

    def follow(self, device: str, make_model: Callable[[], Model], images: Images, labels: Labels) -> None:
        """In the other processes: compute their part of every step until the first process ends."""
        # The first process saves and stops; this one ends with it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._connect(device)
        model: Model | None = None
        while True:
            name, *values = self.hear()
            match name:
                case "end":
                    self._leave()
                    return
                case "build":
                    model = None  # before the memory of the next one is taken
                    model = make_model()
                case "attach":
                    assert model is not None
                    model.attach(images[: values[0]], labels[: values[0]])
                case "train_step" | "load_weights" | "load_training_state":
                    getattr(model, name)(*values)
                case _:
                    raise AssertionError(name)

    def end(self) -> None:
        """In the first process: let the others end."""
        if self._commands is None:
            self._store.set("job", b"")
        elif not self._broken:
            self.tell("end")
            self._leave()

    def tell(self, *command: Any) -> None:
        """In the first process: announce a command, a name of ``follow`` and its values."""
        with self.connected():
            dist.broadcast_object_list([command], src=0, group=self._commands)

    def hear(self) -> tuple[Any, ...]:
        """In the other processes: the next command."""
        command: list[Any] = [None]
        with self.connected():
            dist.broadcast_object_list(command, src=0, group=self._commands)
        return command[0]

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Within the block, an error of the connection to the other processes is ProcessLost."""
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not any(mark in str(error) for mark in ("gloo", "NCCL")):
                raise
            self._broken = True
            raise ProcessLost(self._lost()) from None

    def _connect(self, device: str) -> None:
        backend = "gloo"
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", self.place.rank)))
            backend = "cpu:gloo,cuda:nccl"
        with self.connected():
            dist.init_process_group(
                backend,
                store=PrefixStore("group", self._store),
                rank=self.place.rank,
                world_size=self.place.size,
                timeout=TIMEOUT,
            )
            self._commands = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_WITHOUT_LIMIT))
        key = f"alive/{self.place.rank}"
        # A connection to the store serves one thread at a time. A new one could not be made once the store has ended.
        self._signs = self._store.clone()
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(self._store.clone(), key, ended), daemon=True, name="mlpconv-alive")
        beat.start()
        atexit.register(_stop, beat, ended)
        _joined.append(self)

    def _leave(self) -> None:
        _joined.clear()
        dist.destroy_process_group()

    def _lost(self) -> str:
        """Which processes give no sign of life any more."""
        others = [rank for rank in range(self.place.size) if rank != self.place.rank]
        ranks, signs = others, self._signs
        if signs is not None:
            with _without_store():
                before = {rank: signs.add(f"alive/{rank}", 0) for rank in others}
                time.sleep(_SILENT_SECONDS)
                silent = [rank for rank, beats in before.items() if signs.add(f"alive/{rank}", 0) == beats]
                ranks = silent or others
        names = " and ".join(f"rank {rank}" for rank in ranks)
        return f"the connection to {names} of {self.place.size} processes is lost: it has ended, or does not respond"

    def _watch_launcher(self) -> None:
        """Stop with the launcher: what it has started does not outlive it."""
        launcher = os.getppid()
        while os.getppid() == launcher:
            time.sleep(_BEAT_SECONDS)
        if self.place.rank == 0:
            print(f"the launcher (process {launcher}) has ended; saving and stopping", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(TIMEOUT.total_seconds())
        os._exit(ProcessLost.exit_code)


def _beat(store: Any, key: str, ended: threading.Event) -> None:
    with _without_store():
        while not ended.wait(_BEAT_SECONDS):
            store.add(key, 1)


def _stop(beat: threading.Thread, ended: threading.Event) -> None:
    # A thread that is within PyTorch when Python ends aborts the process.
    ended.set()
    beat.join(5)


@contextmanager
def _without_store() -> Iterator[None]:
    """Within the block, the end of the process that keeps the store is no error."""
    with suppress(RuntimeError, OSError):
        yield
