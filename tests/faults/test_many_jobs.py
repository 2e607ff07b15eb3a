"""Studies and predictions by several workers, some of which are killed: nothing is lost, and nothing is done twice."""

import csv
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.command_processes import KILLED, TERMINATED, wait_until_ended
from support.dask_cluster import Cluster, wait_for

STUDY = (
    "study",
    "family",
    "--budget",
    "small",
    "--data",
    "digits",
    "--images",
    "64",
    "--epochs",
    "1",
    "--image-size",
    "32",
)
SEEDS = 1
FILES = 3000


@pytest.fixture(scope="module")
def alone(processes):
    """The result of the study in one process."""
    folder = processes.folder / "alone"
    folder.mkdir()
    done = processes.run(*STUDY, "--seeds", SEEDS, "--json", folder=folder)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.fixture(scope="module")
def pictures(processes):
    """A folder of many small pictures."""
    folder = processes.folder / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(FILES):
        Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number:05}.png")
    (folder / "02000.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def predicted(processes, whole, pictures):
    """The predictions of one process."""
    out = processes.folder / "alone.csv"
    done = processes.run("predict", whole, pictures, "--out", out)
    assert done.code == 0, done.err
    return lines(out)


def lines(path):
    return list(csv.reader(path.read_text().splitlines()))


def measures(result):
    """The numbers of each seed of each arm, without times."""
    return [[{**row, "seconds": 0} for row in arm["seeds"]] for arm in result["arms"]]


def children(pid):
    """The numbers of the workers that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
        except OSError:  # it ended
            continue
    return found


def kill_a_worker(process, besides=(), seconds=30):
    """Kill a worker of ``local`` as soon as there is one that is not among ``besides``; return its number."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for worker in set(children(process.pid)) - set(besides):
            with suppress(ProcessLookupError):  # it ended since it was found
                os.kill(worker, signal.SIGKILL)
                return worker
        time.sleep(0.01)
    raise AssertionError(f"process {process.pid} had no worker for {seconds} s, besides {besides}")


def test_a_study_by_several_workers_has_the_numbers_of_one_process(processes, alone, where, tmp_path):
    done = processes.run(*STUDY, "--seeds", SEEDS, "--json", "--executor", where, folder=tmp_path)
    assert done.code == 0, done.err
    assert measures(json.loads(done.out)) == measures(alone)


def test_a_study_whose_worker_is_killed(processes, alone, tmp_path, faults):
    study = processes.start(*STUDY, "--seeds", SEEDS, "--out", "pages", "--executor", "local:2", folder=tmp_path)
    runs = tmp_path / "runs" / "study-family-small"
    wait_for(runs / "nin11" / "seed-0" / "config.json")
    with faults:
        kill_a_worker(study)
        done = study.wait()
        assert done.code == 0, done.err
        assert measures(json.loads((tmp_path / "pages" / "family.json").read_text())) == measures(alone)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_is_stopped_or_killed_continues(processes, alone, tmp_path, number, faults):
    arguments = (*STUDY, "--seeds", SEEDS, "--out", "pages", "--executor", "local:2")
    study = processes.start(*arguments, folder=tmp_path)
    runs = tmp_path / "runs" / "study-family-small"
    wait_for(runs / "nin11" / "seed-0" / "config.json")
    workers = children(study.pid)
    assert workers
    with faults:
        study.send(number)
        first = study.wait()
        assert first.code == (TERMINATED if number == signal.SIGTERM else KILLED), first.err
        assert not (runs / "stop").exists()
        wait_until_ended(workers)
        second = processes.run(*arguments, folder=tmp_path)
        assert second.code == 0, second.err
        assert measures(json.loads((tmp_path / "pages" / "family.json").read_text())) == measures(alone)


def test_a_study_whose_scheduler_is_killed_ends_and_continues(processes, alone, tmp_path, faults):
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask")
    arguments = (*STUDY, "--seeds", SEEDS, "--json")
    study = processes.start(*arguments, "--executor", cluster.address, folder=tmp_path)
    wait_for(tmp_path / "runs" / "study-family-small" / "nin11" / "seed-0" / "config.json")
    with faults:
        cluster.scheduler.kill()
        first = study.wait()
        cluster.close()
        assert first.code == 3, first.err
        assert f"error: --executor {cluster.address}: the scheduler" in first.err
        second = processes.run(*arguments, folder=tmp_path)
        assert second.code == 0, second.err
        assert measures(json.loads(second.out)) == measures(alone)


def test_predictions_by_several_workers_are_those_of_one_process(processes, whole, pictures, predicted, where):
    out = processes.folder / f"{where.partition(':')[0]}.csv"
    done = processes.run("predict", whole, pictures, "--out", out, "--executor", where)
    assert done.code == 0, done.err
    assert lines(out) == predicted
    assert len(predicted) == FILES + 2


def test_predictions_while_workers_are_killed_have_each_file_once(processes, whole, pictures, predicted, faults):
    out = processes.folder / "killed.csv"
    running = processes.start("predict", whole, pictures, "--out", out, "--executor", "local:2")
    killed = []
    for _ in range(2):
        with faults:
            killed.append(kill_a_worker(running, besides=killed))
    done = running.wait()
    assert done.code == 0, done.err
    assert lines(out) == predicted
