"""When a run should stop: by Ctrl-C, by SIGTERM, or by the clock, always between two steps, so that it is saved."""

import signal
import threading
import time
from collections.abc import Iterable
from types import FrameType


class Stop:
    """``wanted`` says whether the run should stop, while this context is entered. A second signal stops at once.

    limit: seconds from now. signals: those that are caught. Off the main thread, where Python takes no signals, and
    where the program handles a signal in its own way, that is left as it is. exit_code: 128 + the signal, else 0.
    """

    def __init__(
        self, limit: float | None = None, signals: Iterable[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    ) -> None:
        self.deadline = time.monotonic() + limit if limit is not None else None
        self.exit_code = 0
        self.seen = False
        self._signals = signals
        self._old: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                old = signal.getsignal(number)
                if not callable(old) or old is signal.default_int_handler:
                    self._old[number] = old
                    signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.seen, self.exit_code = True, 128 + number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def wanted(self) -> bool:
        """Whether to stop at the next chance."""
        return self.seen or (self.deadline is not None and time.monotonic() > self.deadline)
