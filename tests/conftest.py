"""Settings that all tests share."""

import signal

import pytest
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a Dask scheduler with two workers."""
    from support.dask_cluster import Cluster

    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    yield cluster.address
    cluster.close()


@pytest.fixture(params=["local:2", "dask"])
def where(request):
    """An address for --executor: two processes of this machine, and a Dask cluster."""
    return request.param if request.param != "dask" else request.getfixturevalue("cluster")
