"""Jobs in several processes and on Dask workers: every job has one result, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlpconv import executors
from mlpconv.errors import DataError, MlpconvError, ProcessLost
from mlpconv.executors import open_workers
from support.command_processes import wait_until_ended
from support.dask_cluster import Cluster, wait_for


def square(number):
    return number * number


def refuse(number):
    raise DataError(f"job {number} is wrong")


def die_at_first(path):
    """Kill the worker, unless the file exists: then the job has been started before."""
    path = Path(path)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def always_die(name):
    os.kill(os.getpid(), signal.SIGKILL)


def threads_and_signal(_):
    time.sleep(0.2)
    return os.environ["OMP_NUM_THREADS"], signal.getsignal(signal.SIGINT) is signal.SIG_IGN, os.getpid()


def wait_for_orphanage(directory):
    """Write the number of this process, and another file once the process that started it is gone."""
    Path(directory, "worker").write_text(str(os.getpid()))
    while not executors.is_abandoned():
        time.sleep(0.05)
    Path(directory, "noticed").touch()


def test_every_job_has_its_result(where):
    with open_workers(where) as workers:
        assert workers.count == 2
        assert sorted(workers.run(square, range(30))) == [(number, number**2) for number in range(30)]
        assert list(workers.in_order(square, iter(range(30)))) == [number**2 for number in range(30)]
        assert list(workers.run(square, [])) == []


def test_an_error_for_the_user_comes_back(where):
    with open_workers(where) as workers, pytest.raises(DataError, match="job 3 is wrong"):
        list(workers.run(refuse, [3]))


def test_an_error_of_the_program_comes_back(where):
    with open_workers(where) as workers, pytest.raises(TypeError):
        list(workers.run(square, ["text"]))


def test_the_job_of_a_worker_that_dies_starts_again(where, tmp_path):
    jobs = [str(tmp_path / f"{number}") for number in range(3)]
    with open_workers(where) as workers:
        assert sorted(workers.run(die_at_first, jobs)) == [(0, "0"), (1, "1"), (2, "2")]
        assert list(workers.in_order(square, range(3))) == [0, 1, 4]


def test_a_job_that_kills_every_worker_is_named(where):
    with (
        open_workers(where) as workers,
        pytest.raises(ProcessLost, match=r"^--executor: the worker of a job died 4 times \(.*enough memory$"),
    ):
        list(workers.run(always_die, ["x"]))


def test_a_pool_that_is_closing_its_pipes_is_replaced():
    """As for a moment after a worker has died: a process cannot be started then."""
    with open_workers("local:2") as workers:
        workers._kind._pool._call_queue._reader.close()
        assert sorted(workers.run(square, range(5))) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_no_job_starts_once_it_should_stop():
    taken = []

    def jobs():
        for number in range(1000):
            taken.append(number)
            yield number

    with open_workers("local:2") as workers:
        done = []
        for index, _ in workers.run(square, jobs(), should_stop=lambda: len(taken) >= 10):
            done.append(index)
    assert sorted(done) == taken
    assert 10 <= len(taken) <= 14


def test_jobs_are_not_far_ahead_of_one_that_takes_long():
    ahead = []

    def jobs():
        for number in range(100):
            ahead.append(number)
            yield number

    with open_workers("local:2") as workers:
        results = workers.in_order(square, jobs())
        assert next(results) == 0
        assert len(ahead) < 20
        results.close()


def test_local_workers_share_the_processors_and_leave_ctrl_c_to_the_first_process(monkeypatch):
    monkeypatch.setattr("mlpconv.hardware.cpu_count", lambda: 8)
    with open_workers("local:2") as workers:
        found = [result for _, result in workers.run(threads_and_signal, range(4))]
    assert {(threads, ignored) for threads, ignored, _ in found} == {("4", True)}
    assert len({process for _, _, process in found}) == 2


def test_a_worker_notices_that_the_process_that_started_it_is_killed(tmp_path):
    program = (
        "from test_executors import *\n"
        "if __name__ == '__main__':\n"
        "    with open_workers('local:1') as workers:\n"
        f"        list(workers.run(wait_for_orphanage, [{str(tmp_path)!r}]))\n"
    )
    (tmp_path / "program.py").write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    parent = subprocess.Popen([sys.executable, tmp_path / "program.py"], env=environment)
    wait_for(tmp_path / "worker")
    parent.kill()
    parent.wait()
    wait_for(tmp_path / "noticed")
    worker = int((tmp_path / "worker").read_text())
    wait_until_ended([worker])


@pytest.mark.parametrize("address", ["local:0", "local:many", "local:"])
def test_a_number_of_processes_that_is_none_is_refused(address):
    with pytest.raises(MlpconvError, match="expected local, local:N") as raised, open_workers(address):
        pass
    assert str(raised.value).startswith(f"--executor {address}: ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://127.0.0.1:1", "no Dask scheduler answers there ("),
        ("nonsense", "not an address; expected local"),
        ("missing.json", "there is no such file; expected local"),
        ("wrong.json", "not the file of a Dask scheduler; expected local"),
    ],
)
def test_an_address_where_nothing_answers_is_refused(address, message, tmp_path):
    """In a separate process, as Dask keeps threads of a client that could not connect."""
    pytest.importorskip("distributed")
    (tmp_path / "wrong.json").write_text("{}")
    program = f"""
from mlpconv import executors
executors._CONNECT_SECONDS = 1
try:
    with executors.open_workers({address!r}):
        pass
except executors.MlpconvError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout.startswith(f"--executor {address}: {message}")
    assert (ran.stdout.count("\n"), ran.stderr) == (1, "")


def test_dask_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MlpconvError, match=r'pip install "mlpconv\[cluster\]"'), open_workers("tcp://host:8786"):
        pass


def test_workers_with_several_threads_are_refused(tmp_path):
    cluster = Cluster(tmp_path, 1, threads=2)
    try:
        with pytest.raises(MlpconvError, match="dask worker --nthreads 1"), open_workers(cluster.address):
            pass
    finally:
        cluster.close()


def test_a_scheduler_that_is_killed_is_named(tmp_path):
    cluster = Cluster(tmp_path, 1)
    timer = threading.Timer(2, cluster.scheduler.kill)
    timer.start()
    try:
        with pytest.raises(ProcessLost, match="the scheduler"), open_workers(cluster.address) as workers:
            list(workers.run(time.sleep, [60]))
    finally:
        cluster.close()
