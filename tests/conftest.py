"""Settings that all tests share."""

import signal

from hypothesis import settings

# Times vary too much on a shared machine for a deadline to mean anything.
settings.register_profile("mlpconv", deadline=None, print_blob=True)
settings.load_profile("mlpconv")


def pytest_configure():
    # A shell that starts us in the background has Ctrl-C ignored; the tests of Ctrl-C need it as a terminal gives it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    """How many faults the tests of tests/faults put in, and how many were survived."""
    put_in = survived = 0
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call" and "tests/faults/" in report.nodeid:
                counted = dict(report.user_properties).get("faults", (1, int(outcome == "passed")))
                put_in, survived = put_in + counted[0], survived + counted[1]
    if put_in:
        terminalreporter.write_line(f"faults: {put_in:,} put in, {survived:,} survived", bold=True)
