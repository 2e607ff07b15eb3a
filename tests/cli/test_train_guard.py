"""What the command line shows of the guard."""

import json

import pytest
from test_json import check

from mlpconv.runs.run import Run

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
DIGITS = (
    "train",
    "--data",
    "digits",
    "--model",
    "nin_28",
    "--image-size",
    "14",
    "--batch-size",
    "32",
    "--epochs",
    "1",
    "--precision",
    "float32",
    "--set",
    "augmentation.flip=false",
)
WILD = (*DIGITS, "--lr", "1e30", "--optimizer", "sgd", "--epochs", "2")


def test_stop_exits_with_3_and_a_remedy(cli):
    said = cli(*WILD, "--on-trouble", "stop", "--out", "run")
    assert said.code == 3
    assert "tried: nothing, since on_trouble is stop; next: --on-trouble repair" in said.err
    assert Run("run").failure is not None


def test_a_run_that_cannot_be_repaired_exits_with_3(cli):
    said = cli(*WILD, "--out", "run", "--json")
    assert said.code == 3
    assert said.out == ""
    assert said.err.count("started again at epoch 1") >= 8
    assert len(Run("run").failure.repairs) == 8


def test_repairs_are_printed_and_in_the_json(cli):
    arguments = (*DIGITS, "--lr", "1000", "--optimizer", "sgd", "--set", "augmentation.flip=false", "--epochs", "2")
    said = cli(*arguments, "--out", "run")
    assert said.code == 0, said.err
    assert "; started again: from new weights, seed 1000003; learning rate × 0.5" in said.err
    assert "the guard intervened" in said.out
    value = check("train", json.loads(cli("train", "--resume", "--out", "run", "--json").out))
    assert value["repairs"][0]["action"] == "started again"
    assert value["dead_classes"] is None  # no ReLU at the end of this network
    assert value["best_epoch"] is None


def test_a_target_holds_out_images(cli):
    said = cli(*DIGITS, "--epochs", "5", "--target-accuracy", "0.5", "--out", "run", "--json")
    value = check("train", said.json())
    assert value["validation_accuracy"] >= 0.5
    assert value["epochs"] < 5
    config = Run("run").config
    assert (config.recipe.validation, config.data.train, config.data.validation) == (0.1, 1293, 144)
    assert value["ended_by"] == "target"
    said = cli(*DIGITS, "--set", "target_accuracy=0.5", "--out", "other")
    assert said.code == 2
    assert "target_accuracy needs validation images" in said.err


def test_patience_holds_out_images_and_is_reported(cli):
    # At this rate nothing is learnt: the first epoch stays the best.
    still = ("--recipe", "study", "--lr", "1e-9", "--on-trouble", "ignore")
    said = cli(*DIGITS, "--epochs", "9", *still, "--patience", "2", "--out", "run")
    assert said.code == 0, said.err
    assert "stops after 2 epochs without improvement" in said.out
    assert "ended early, after 3 of 9 epochs: no better validation accuracy for 2 epochs" in said.out
    value = check("train", json.loads(cli("train", "--resume", "--out", "run", "--json").out))
    assert (value["ended_by"], value["epochs"], value["best_epoch"]) == ("patience", 3, 1)
