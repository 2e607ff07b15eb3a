"""--precision on processors with and without bfloat16: a clear error and the way out, and runs that were trained
elsewhere stay usable."""

import json

import numpy as np
import pytest
from PIL import Image

from mlpconv.runs.run import Run
from support.precision import needs_bfloat16

REFUSED = "precision bfloat16: PyTorch has no fast convolutions in bfloat16 for this processor"
TRAIN = (
    "train",
    "--data",
    "digits",
    "--model",
    "lenet",
    "--epochs",
    "2",
    "--batch-size",
    "64",
    "--image-size",
    "28",
    "--device",
    "cpu",
)


@pytest.fixture
def without_bfloat16(monkeypatch):
    """As on a processor that has no bfloat16 at all."""
    monkeypatch.setattr("mlpconv.backends.pytorch.backend.COMPUTES_BFLOAT16", False)
    monkeypatch.setattr("mlpconv.backends.pytorch.convolutions.COMPUTES_BFLOAT16", False)
    monkeypatch.setattr("mlpconv.hardware.has_bfloat16", lambda: False)


@pytest.fixture
def elsewhere(cli, without_bfloat16):
    """A finished and a stopped run, as a machine that computes in bfloat16 would have left them."""
    assert cli(*TRAIN, "--precision", "float32", "--out", "whole").code == 0
    assert cli(*TRAIN, "--precision", "float32", "--out", "part", "--max-time", "0").code == 0
    for name in ("whole", "part"):
        path = Run(name).path / "config.json"
        config = json.loads(path.read_text())
        config["precision"], config["recipe"]["precision"] = "bfloat16", None
        path.write_text(json.dumps(config))
        assert Run(name).config.precision == "bfloat16"


def refused(said):
    assert said.code == 2, said.err
    assert "Traceback" not in said.err
    assert REFUSED in said.err.replace("\n", " ")
    assert "--precision float32" in said.err
    return said


@pytest.mark.parametrize(
    "arguments",
    [
        ("--precision", "bfloat16"),
        ("--precision", "bfloat16", "--dry-run"),
        ("--precision", "bfloat16", "--json"),
        ("--set", "precision=bfloat16"),
        ("--recipe", "rounded.toml"),
    ],
)
def test_training_in_bfloat16_is_refused_before_anything_is_written(cli, tmp_path, without_bfloat16, arguments):
    (tmp_path / "rounded.toml").write_text('base = "quick"\nprecision = "bfloat16"\n')
    refused(cli(*TRAIN, *arguments, "--out", "run"))
    assert not (tmp_path / "run").exists()


def test_a_bfloat16_run_of_another_machine_is_used_reported_and_fine_tuned(cli, elsewhere, tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(image)
    for command in (
        ("evaluate", "whole"),
        ("predict", "whole", image),
        ("report", "whole"),
        ("compare", "whole", "part"),
        ("runs",),
        (*TRAIN, "--from", "whole", "--out", "again"),
        (*TRAIN, "--start-from", "whole", "--out", "further"),
        (*TRAIN, "--pretrained", "whole", "--out", "tuned"),
    ):
        said = cli(*command)
        assert said.code == 0, (command, said.err)
    assert {Run(name).config.precision for name in ("again", "further", "tuned")} == {"float32"}
    for command in (("evaluate", "whole"), ("predict", "whole", image)):
        refused(cli(*command, "--precision", "bfloat16"))


def test_an_exact_resume_is_refused_with_the_alternative(cli, elsewhere):
    said = refused(cli("train", "--out", "part", "--resume"))
    assert "part: the run computes in bfloat16" in said.err.replace("\n", " ")
    assert "--resume-override precision=float32" in said.err
    assert Run("part").config.precision == "bfloat16"
    said = cli("train", "--out", "part", "--resume", "--resume-override", "precision=float32")
    assert said.code == 0, said.err
    config = Run("part").config
    assert config.precision == "float32"
    assert any('now "float32"' in change for change in config.resumed_with)


@needs_bfloat16
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_command_accepts_bfloat16_on_a_processor_with_it(cli, precision):
    assert cli(*TRAIN, "--precision", precision, "--epochs", "1", "--out", "run").code == 0
    assert Run("run").config.precision == precision
    assert cli("evaluate", "run", "--precision", precision).code == 0


def test_a_resume_on_another_processor_reports_that_rounding_differs(cli, tmp_path, caplog):
    arguments = ("--precision", "float32", "--out", "run")
    assert cli(*TRAIN, *arguments, "--epochs", "1").code == 0
    path = tmp_path / "run" / "environment.json"
    assert Run("run").arithmetic_changes() == []
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": "Another CPU"}))
    said = cli("train", "--out", "run", "--resume-override", "epochs=2")
    assert said.code == 0, said.err
    assert "run: continues with other arithmetic than it started with" in caplog.text
    assert "processor: Another CPU, now" in caplog.text


@needs_bfloat16
def test_a_precision_of_the_recipe_is_kept(cli, monkeypatch):
    for has in (True, False):
        monkeypatch.setattr("mlpconv.hardware.has_bfloat16", lambda has=has: has)
        place = f"run-{has}"
        assert cli(*TRAIN, "--out", place, "--max-time", "0").code == 0
        monkeypatch.setattr("mlpconv.hardware.has_bfloat16", lambda has=has: not has)
        assert cli("train", "--out", place, "--resume").code == 0
        assert Run(place).config.precision == ("bfloat16" if has else "float32")
