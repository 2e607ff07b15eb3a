"""When a run stops: at Ctrl-C, at once at the second, and when its time is over."""

import signal
import threading

import pytest

from mlpconv.jobs.stop import Stop


def test_a_second_interrupt_stops_at_once():
    with Stop() as stop:
        assert not stop.wanted()
        signal.raise_signal(signal.SIGINT)
        assert stop.wanted()
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_time_that_is_over_stops_too():
    assert Stop(0.0).wanted()
    assert not Stop(1000.0).wanted()


def test_a_programs_own_handler_stays():
    def own(number, frame):
        pass

    old = signal.signal(signal.SIGINT, own)
    try:
        with Stop():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, old)


def test_off_the_main_thread_signals_are_left_alone():
    seen = []

    def enter():
        with Stop():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
