"""When to stop a run: on Ctrl-C, on SIGTERM, or when its time is over. It stops between two steps, so it is saved."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

GRACE_SECONDS = 20.0
"""Seconds that a step may take to finish after a signal: the sender often kills the process after 30."""

_EXIT_SECONDS = 2.0
"""Seconds for an orderly exit after a second signal."""


class Stop:
    """A context manager; while it is entered, ``wanted`` tells whether the run should stop. A second signal stops it at
    once.

    Off the main thread, where Python receives no signals, signals are left alone; so is a signal that the program
    handles itself.

    Attributes:
        exit_code: 128 + the signal that was received, else 0.
        seen: Whether a signal was received.
    """

    def __init__(
        self,
        limit: float | None = None,
        signals: Iterable[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        grace_seconds: float | None = None,
    ) -> None:
        """
        Args:
            limit: The time in seconds, from now, after which the run should stop.
            signals: The signals to catch.
            grace_seconds: The time in seconds after a signal until this process exits in any case, with ``exit_code``,
                even in the middle of a step; None to wait for the step however long it takes.
        """
        self.deadline = time.monotonic() + limit if limit is not None else None
        self.exit_code = 0
        self.seen = False
        self._signals = signals
        self._grace_seconds = grace_seconds
        self._old: dict[int, object] = {}
        self._wakeup: tuple[socket.socket, int] | None = None

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                old = signal.getsignal(number)
                if not callable(old) or old is signal.default_int_handler:
                    self._old[number] = old
                    signal.signal(number, self._catch)
            if self._grace_seconds is not None and self._old:
                self._start_watching(self._grace_seconds)
        return self

    def __exit__(self, *_: object) -> None:
        if self._wakeup:
            sender, before = self._wakeup
            signal.set_wakeup_fd(before)
            sender.close()
        for number, handler in self._old.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.seen, self.exit_code = True, 128 + number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def wanted(self) -> bool:
        """Whether the run should stop after the current step."""
        return self.seen or (self.deadline is not None and time.monotonic() > self.deadline)

    def _start_watching(self, grace_seconds: float) -> None:
        # Python calls a handler only between two bytecode instructions, and a framework's step is one of them.
        receiver, sender = socket.socketpair()
        watch = threading.Thread(target=self._watch, args=(receiver, grace_seconds), daemon=True, name="mlpconv-stop")
        try:
            watch.start()
        except RuntimeError:  # the system allows no more threads: without it, a signal waits for the step
            receiver.close()
            sender.close()
            return
        sender.setblocking(False)
        self._wakeup = sender, signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def _watch(self, receiver: socket.socket, grace_seconds: float) -> None:
        first_signal = 0
        with receiver:
            while True:
                try:
                    received = receiver.recv(1)
                except TimeoutError:
                    _exit_now(128 + first_signal)
                if not received:  # the context was left in time
                    return
                if received[0] in self._old:
                    receiver.settimeout(_EXIT_SECONDS if first_signal else grace_seconds)
                    first_signal = first_signal or received[0]


def _exit_now(code: int) -> NoReturn:
    # Shows the terminal's cursor again, which a progress bar hides.
    end = "\x1b[?25h" if sys.stderr.isatty() else ""
    os.write(2, f"{end}stopped in the middle of a step; what was saved before is complete\n".encode())
    os._exit(code)
