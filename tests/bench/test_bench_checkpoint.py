"""`mlpconv bench checkpoint`: it really saves and loads, and its numbers follow from what it measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import checkpoint

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/json/bench-checkpoint.schema.json").read_text())


def test_the_command_measures_and_writes_what_it_prints(tmp_path):
    pytest.importorskip("torch")
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "mlpconv",
            "bench",
            "checkpoint",
            "--rounds=2",
            "--batch-size=4",
            "--json",
            "--folder",
            tmp_path,
            "--out",
            tmp_path / "new",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    result = json.loads(ran.stdout)
    jsonschema.validate(result, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert result == json.loads((tmp_path / "new/checkpoint.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    # Weights and momentum in float32, and little else.
    values = 8 * 1_992_166
    assert values < result["bytes"] < values * 1.01
    assert result["gates"][1] == {
        "name": "bytes of a checkpoint with momentum",
        "value": result["bytes"],
        "bound": 20e6,
        "passed": True,
    }
    assert result["save_seconds"] == pytest.approx(sum(result["rounds"]["save_seconds"]) / 2)
    assert result["saves_per_epoch"] == 1 + result["epoch_seconds"] // 300
    assert result["share"] == pytest.approx(
        result["saves_per_epoch"] * result["save_seconds"] / result["epoch_seconds"]
    )
    page = (tmp_path / "new/checkpoint.md").read_text()
    for line in checkpoint.lines(result):
        assert f"- {line}\n" in page
    assert result["command"] in page


def test_a_missing_folder_is_named(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "mlpconv", "bench", "checkpoint", "--folder", tmp_path / "no"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (2, f"error: --folder {tmp_path / 'no'}: there is no such directory\n")
