import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import frameworks
from mlpconv.bench.contest import Job
from mlpconv.errors import BenchmarkFailed, MlpconvError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/json/bench-frameworks.schema.json").read_text())
JOB = Job(batch_size=128, image_size=224, steps=4, warmup=2, threads=2)


def check(result):
    jsonschema.validate(result, SCHEMA, format_checker=jsonschema.FormatChecker())


def contenders(speeds, missing=()):
    """A run_contender that measures nothing: speeds of ours and of the framework's own way, by framework."""
    told = []

    def run(module, job, *, name, python=None):
        told.append((job.backend, module.rpartition(".")[2], python))
        if module.endswith("images"):
            return {"data": "generated"}
        if job.backend in missing:
            raise BenchmarkFailed(f"{name}: its process ended with exit code 1; its last lines:\n  no such module")
        ours = module.endswith("ours_float32")
        return {"images_per_second": speeds[job.backend][not ours], "device": "cpu", "peak_bytes": 2**30} | (
            {} if ours else {"versions": {job.backend: "1.0"}}
        )

    return run, told


SPEEDS = {"torch": (90.0, 40.0), "tensorflow": (80.0, 80.0), "jax": (9.0, 10.0), "mxnet": (60.0, 30.0)}


def test_medians_ratios_and_gates(monkeypatch):
    run, told = contenders(SPEEDS)
    monkeypatch.setattr(frameworks, "run_contender", run)
    result = frameworks.measure(JOB, 2, pythons={"mxnet": "/there/python"})
    check(result)
    assert {name: each["ratio"] for name, each in result["frameworks"].items()} == {
        "torch": 2.25,
        "tensorflow": 1.0,
        "jax": 0.9,
        "mxnet": 2.0,
    }
    assert frameworks.notes(result)[2] == "FAIL  jax: 0.90 (≥ 0.95)"
    assert told[1:3] == [("torch", "ours_float32", None), ("torch", "d2l", None)]
    assert told[7:9] == [("mxnet", "ours_float32", "/there/python"), ("mxnet", "gluon_loop", "/there/python")]
    assert "| mxnet | 60.0 | 30.0 | 2.00 |" in frameworks.markdown(result)
    assert "mxnet 1.0" in frameworks.markdown(result)


def test_a_missing_framework_is_skipped_and_reported(monkeypatch):
    run, told = contenders(SPEEDS, missing={"mxnet"})
    monkeypatch.setattr(frameworks, "run_contender", run)
    lines = []
    result = frameworks.measure(JOB, 2, pythons={}, progress=lines.append)
    check(result)
    assert result["missing"] == {"mxnet": "no such module"}
    assert frameworks.notes(result)[-1] == "none  mxnet: no such module"
    assert sum(backend == "mxnet" for backend, _, _ in told) == 1
    assert "mxnet, round 1 of 2: left out: no such module" in lines


@pytest.mark.parametrize("asked", [{"pythons": {"mxnet": "p"}}, {"pythons": {}, "only": ["mxnet"]}])
def test_a_requested_framework_must_run(monkeypatch, asked):
    monkeypatch.setattr(frameworks, "run_contender", contenders(SPEEDS, missing={"mxnet"})[0])
    with pytest.raises(BenchmarkFailed, match="no such module"):
        frameworks.measure(JOB, 1, **asked)


def test_unknown_names_are_refused():
    with pytest.raises(MlpconvError, match=r"--python mxnet: expected NAME=PATH"):
        frameworks.interpreters(["mxnet"])
    with pytest.raises(MlpconvError, match=r"did you mean 'mxnet'"):
        frameworks.interpreters(["mxnt=python"])
    with pytest.raises(MlpconvError, match=r"--framework jaxx: .*'jax'"):
        frameworks.measure(JOB, 1, pythons={}, only=["jaxx"])


def test_the_command_measures_and_writes_what_it_prints(tmp_path):
    arguments = [
        "--framework=torch",
        "--steps=1",
        "--warmup=1",
        "--rounds=1",
        "--batch-size=4",
        "--image-size=80",
        "--threads=1",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "mlpconv", "bench", "frameworks", *arguments, "--json", "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    check(result)
    assert result == json.loads((tmp_path / "frameworks.json").read_text())
    assert 1 < result["frameworks"]["torch"]["ours"] < 100_000
    assert result["command"] in (tmp_path / "frameworks.md").read_text()


def test_a_missing_interpreter_is_reported():
    with pytest.raises(BenchmarkFailed, match="could not be started: /no/python: No such file"):
        frameworks.run_contender("mlpconv.bench.images", JOB, name="data", python="/no/python")
