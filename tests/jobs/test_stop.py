"""When a run stops: at Ctrl-C, at once at the second, and when its time is over."""

import signal
import threading

import pytest

from mlpconv.jobs.stop import Stop


def test_a_second_interrupt_stops_immediately():
    with Stop() as stop:
        assert not stop.wanted()
        signal.raise_signal(signal.SIGINT)
        assert stop.wanted()
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_time_limit_stops_a_run():
    assert Stop(0.0).wanted()
    assert not Stop(1000.0).wanted()


def test_the_handler_of_a_program_is_restored():
    def own(number, frame):
        pass

    old = signal.signal(signal.SIGINT, own)
    try:
        with Stop():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, old)


def test_outside_the_main_thread_signals_are_not_handled():
    seen = []

    def enter():
        with Stop():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
