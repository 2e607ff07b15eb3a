"""When a run should stop: by Ctrl-C, by SIGTERM, or by the clock, always between two steps, so that it is saved."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

PATIENCE = 20.0
"""Seconds that a step may take to come to its end after a signal: whoever sent it often kills after 30."""

_UNWIND = 2.0
"""Seconds for an orderly end after a second signal."""


class Stop:
    """``wanted`` says whether the run should stop, while this context is entered. A second signal stops at once.

    limit: seconds from now. signals: those that are caught. Off the main thread, where Python takes no signals, and
    where the program handles a signal in its own way, that is left as it is. exit_code: 128 + the signal, else 0.
    patience: seconds after a signal until this process ends in any case, with that code, in the middle of a step or
    whatever it does; None lets it take as long as it takes.
    """

    def __init__(
        self,
        limit: float | None = None,
        signals: Iterable[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        patience: float | None = None,
    ) -> None:
        self.deadline = time.monotonic() + limit if limit is not None else None
        self.exit_code = 0
        self.seen = False
        self._signals = signals
        self._patience = patience
        self._old: dict[int, object] = {}
        self._bell: tuple[socket.socket, int] | None = None

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                old = signal.getsignal(number)
                if not callable(old) or old is signal.default_int_handler:
                    self._old[number] = old
                    signal.signal(number, self._catch)
            if self._patience is not None and self._old:
                self._begin_watch(self._patience)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bell:
            bell, before = self._bell
            signal.set_wakeup_fd(before)
            bell.close()
        for number, handler in self._old.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.seen, self.exit_code = True, 128 + number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def wanted(self) -> bool:
        """Whether to stop at the next chance."""
        return self.seen or (self.deadline is not None and time.monotonic() > self.deadline)

    def _begin_watch(self, patience: float) -> None:
        # Python calls a handler between two of its own instructions only; a step of a framework is one.
        heard, bell = socket.socketpair()
        bell.setblocking(False)
        self._bell = bell, signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(heard, patience), daemon=True, name="mlpconv-stop").start()

    def _watch(self, heard: socket.socket, patience: float) -> None:
        first = 0
        with heard:
            while True:
                try:
                    said = heard.recv(1)
                except TimeoutError:
                    _end_now(128 + first)
                if not said:  # the context was left in time
                    return
                if said[0] in self._old:
                    heard.settimeout(_UNWIND if first else patience)
                    first = first or said[0]


def _end_now(code: int) -> NoReturn:
    # A terminal's cursor, which a progress bar hides, is shown again.
    end = "\x1b[?25h" if sys.stderr.isatty() else ""
    os.write(2, f"{end}stopped in the middle of a step; what was saved before is whole\n".encode())
    os._exit(code)
