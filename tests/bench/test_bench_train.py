import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from mlpconv.backends.registry import get_backend
from mlpconv.bench import report, train
from mlpconv.bench.contest import Job
from mlpconv.errors import NetworkError, RecipeError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/json/bench-train.schema.json").read_text())
JOB = Job(batch_size=128, image_size=224, steps=6, warmup=2, threads=2)
TINY = [
    f"--{name}={value}"
    for name, value in {
        "steps": 1,
        "warmup": 1,
        "rounds": 1,
        "batch-size": 4,
        "image-size": 80,
        "peak-size": 128,
        "threads": 1,
    }.items()
]


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "mlpconv", "bench", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def check(result):
    jsonschema.validate(result, SCHEMA, format_checker=jsonschema.FormatChecker())


def measured(ours=150.0, float32=90.0, d2l=30.0, keras=None, bfloat16=0.8):
    """What the contenders of one round measured."""
    one = {"device": "cpu", "peak_bytes": 2**30}
    precision = "float32" if bfloat16 is None else "bfloat16"
    speeds = {"ours": ours, "ours_float32": float32, "d2l": d2l} | ({"keras": keras} if keras else {})
    contenders = {name: {"images_per_second": speed, **one} for name, speed in speeds.items()}
    contenders["d2l"] |= {"versions": {"pillow": "1.0"}}
    contenders["ours"] |= {"precision": precision, "wait_share": 0.002}
    data = {"data": "fashion-mnist", "load_seconds": 0.5, "load_peak_bytes": 10**8}
    return contenders | {"images": data, "peak": {"float32": 0.4, "bfloat16": bfloat16}}


def test_the_command_measures_every_contender_and_writes_what_it_prints(tmp_path):
    ran = command("train", *TINY, "--no-keras", "--json", "--out", str(tmp_path / "new"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\n") == 1
    result = json.loads(ran.stdout)
    check(result)
    assert result == json.loads((tmp_path / "new/train.json").read_text())
    assert result["keras"] is None
    assert result["missing"] == {"keras": "left out: --no-keras"}
    assert result["ratios"]["ours_to_d2l"] == pytest.approx(result["ours"] / result["d2l"])
    assert result["settings"]["threads"] == 1
    assert result["ours_precision"] == get_backend("torch").choose("cpu", None)[1]
    assert result["command"].startswith("mlpconv bench train --steps=1 ")
    assert re.findall(r"round 1 of 1: (\w+)", ran.stderr) == ["ours", "ours_float32", "d2l", "peak"]
    page = (tmp_path / "new/train.md").read_text()
    assert f"| d2l: the chapter in PyTorch | {result['d2l']:.1f} | 1.00 |" in page
    for told in (
        result["command"],
        result["date"],
        result["hardware"]["processor"],
        f"torch {result['versions']['torch']}",
    ):
        assert told in page


@pytest.mark.slow
def test_keras_is_measured_too(tmp_path):
    pytest.importorskip("tensorflow")
    ran = command("train", *TINY, "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    check(result)
    assert 1 < result["keras"] < 100_000
    assert result["missing"] == {}


def test_medians_ratios_within_rounds_and_gates():
    # The machine runs at half its speed in the second round, which must not change the ratios.
    rounds = [
        measured(150, 90, 30, 75, 0.8),
        measured(75, 45, 15, 37.5, 0.4),
        measured(180, 60, 30, 120, 0.8),
    ]
    result = train.summarize(rounds, JOB, {})
    check(result)
    assert (result["ours"], result["ours_float32"], result["d2l"], result["keras"]) == (150, 60, 30, 75)
    assert result["ratios"] == {
        "ours_to_d2l": 5,
        "ours_float32_to_d2l": 3,
        "ours_to_keras": 2,
        "ours_float32_to_keras": 1.2,
    }
    flops = result["flops_per_image"]["nominal"]
    assert result["share_of_peak_nominal"] == pytest.approx(150 * flops / 0.8e12)
    assert result["share_of_peak"] == pytest.approx(150 * result["flops_per_image"]["executed"] / 0.8e12)
    assert result["rounds"]["ours"] == [150, 75, 180]
    assert [gate["passed"] for gate in result["gates"]] == [True] * 5
    assert result["versions"]["pillow"] == "1.0"


def test_a_gate_fails_if_it_is_missed_or_not_measured():
    rounds = [measured(ours=149.0, float32=60.0)]
    result = train.summarize(rounds, JOB, {"keras": 'not installed: pip install "mlpconv[tensorflow]"'})
    check(result)
    lines = report.gates(result)
    assert lines[0] == "FAIL  ours / d2l: 4.97 (≥ 5)"
    assert lines[1] == "FAIL  ours in float32 / d2l: 2.00 (≥ 3)"
    assert lines[2] == "none  ours / keras: – (≥ 1.7)"
    assert lines[4] == "pass  share of a step that waits for data: 0.200% (< 1%)"
    assert 'keras: not installed: pip install "mlpconv[tensorflow]"' in report.facts(result)
    assert report.rows(result)[3] == ("keras: the chapter in TensorFlow", "–", "–", "–")


def test_a_processor_without_bfloat16_is_compared_with_its_float32_peak():
    result = train.summarize([measured(90.0, 90.0, 30.0, bfloat16=None)], JOB, {"keras": "left out: --no-keras"})
    check(result)
    assert result["ours_precision"] == "float32"
    assert result["peak_bfloat16_tflops"] is None
    assert result["share_of_peak_nominal"] == pytest.approx(90 * result["flops_per_image"]["nominal"] / 0.4e12)
    assert "0.400 in float32" in report.markdown(result)


def test_the_error_of_a_missing_keras_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    monkeypatch.setattr(
        train,
        "run_contender",
        lambda module, job, *, name: measured()[name.partition(",")[0].replace("data", "images")],
    )
    told = []
    result = train.measure(JOB, 2, progress=told.append)
    check(result)
    assert result["keras"] is None
    assert "pip install" in result["missing"]["keras"]
    assert told[0] == "round 1 of 2: ours 150.0 images/s"
    assert len(told) == 8


def test_contenders_alternate(monkeypatch):
    order = []

    def run(module, job, *, name):
        order.append(module.rpartition(".")[2])
        return measured(keras=60.0)[name.partition(",")[0].replace("data", "images")]

    monkeypatch.setattr(train, "find_spec", lambda name: True)
    monkeypatch.setattr(train, "run_contender", run)
    train.measure(JOB, 2)
    assert order == 2 * ["images", "ours", "ours_float32", "d2l", "keras_fit", "peak"]


def test_sizes_that_cannot_be_run_are_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(train, "run_contender", None)
    with pytest.raises(NetworkError, match="does not fit"):
        train.measure(Job(batch_size=4, image_size=60, steps=1, warmup=1, threads=1), 1)
    with pytest.raises(RecipeError, match=r"--steps 500: .* at most 465 timed steps after 2 of warm-up"):
        train.measure(Job(batch_size=128, image_size=224, steps=500, warmup=2, threads=1), 1)


def test_the_command_line_refuses_in_one_message(tmp_path):
    (tmp_path / "file").touch()
    ran = command("train", "--out", str(tmp_path / "file"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: --out {tmp_path / 'file'}: cannot be created: ")
    ran = command("--out", str(tmp_path), "train")
    assert ran.returncode == 2
    assert "after train" in ran.stderr
