"""`mlpconv bench forecast` and `bench overhead`: output that is valid against its schema, and correct gates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from mlpconv.backends.pytorch.convolutions import COMPUTES_BFLOAT16
from mlpconv.bench import forecast, forecast_report, overhead
from mlpconv.bench.overhead_case import Job
from mlpconv.errors import NetworkError

SCHEMAS = Path(__file__).parents[2] / "docs" / "json"


def check(result):
    schema = json.loads((SCHEMAS / f"bench-{result['benchmark']}.schema.json").read_text())
    jsonschema.validate(result, schema, format_checker=jsonschema.FormatChecker())
    return result


def command(tmp_path, *arguments):
    ran = subprocess.run(
        [sys.executable, "-m", "mlpconv", "bench", *arguments, "--threads=1", "--json", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert ran.returncode == 0, ran.stderr
    result = check(json.loads(ran.stdout))
    assert result == json.loads((tmp_path / f"{arguments[0]}.json").read_text())
    return result, (tmp_path / f"{arguments[0]}.md").read_text()


def test_forecast(tmp_path):
    result, page = command(
        tmp_path, "forecast", "--model=lenet", "--batch-size=32", "--batch-size=4", "--max-images=64"
    )
    assert [case["batch_size"] for case in result["time"]] == [4, 32]
    assert [(case["precision"], case["batch_size"]) for case in result["memory"]] == [
        ("float32", 4),
        ("float32", 32),
        *[("bfloat16", 4), ("bfloat16", 32)] * COMPUTES_BFLOAT16,
    ]
    for case in result["memory"]:
        assert abs(forecast.error(case["training"])) < 0.25
    assert "| lenet | 32 |" in page
    assert "- memory: tensors alive at the peak" in page


def test_overhead(tmp_path):
    result, page = command(tmp_path, "overhead", "--steps=5", "--rounds=1", "--batch-size=4")
    assert {len(rounds) for rounds in result["rounds"].values()} == {1}
    assert 0 < result["notebook_share"] < 1
    assert "a notebook draws the curves" in page


def test_an_unknown_network_is_refused_before_any_work():
    with pytest.raises(NetworkError, match="unknown model 'nim'"):
        forecast.measure(["nim"], threads=1)


def pair(predicted, measured=100):
    return {"predicted": predicted, "measured": measured}


@pytest.mark.parametrize(
    ("seconds", "training", "passed"),
    [
        (80, 110, [True, True, True]),
        (74, 110, [False, True, True]),
        (126, 86, [False, True, True]),
        (100, 84, [True, False, True]),
        (100, 116, [True, False, True]),
    ],
)
def test_a_gate_checks_both_bounds(seconds, training, passed):
    times = [{"seconds": pair(100)}, {"seconds": pair(seconds)}]
    memory = [{"training": pair(training), "prediction": pair(100)}]
    result = forecast.summarize(times, memory, {})
    assert [gate["passed"] for gate in result["gates"]] == passed


def test_ratios_are_computed_within_each_round():
    found = {
        "bare": [10.0, 20.0, 10.0],
        "whole": [10.1, 20.1, 13.0],
        "outside": [0.05, 0.2, 0.05],
        "notebook": [0.005, 0.02, 0.006],
        "report": [1.0, 2.0, 3.0],
        "recipe_seconds": 100.0,
        "precision": "float32",
    }
    result = overhead.summarize(found, Job(batch_size=4, steps=2, rounds=3, threads=1))
    assert result["overhead_share"] == pytest.approx(0.01)
    assert result["outside_share"] == pytest.approx(0.05 / 10.1)
    assert result["notebook_share"] == 0.006
    assert result["report_share"] == 0.02
    assert [gate["passed"] for gate in result["gates"]] == [False, True, True, False]
    assert "2.00 s" in forecast_report.overhead_markdown(check(result))
