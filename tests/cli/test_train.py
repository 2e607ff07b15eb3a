"""``mlpconv train``: signals, resuming, time limits, dry runs, and what it prints on which stream."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlpconv.jobs.request import CheckpointPolicy
from mlpconv.jobs.stop import Stop
from mlpconv.runs.files import read_tensors
from mlpconv.runs.outcome import what_is_wrong
from mlpconv.runs.run import Run
from mlpconv.training.metrics import accuracy_interval

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
DIGITS = [
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
]
LONG = [*DIGITS, "--image-size", "8", "--epochs", "3"]
QUICK = [*DIGITS, "--image-size", "8", "--batch-size", "480"]

# A process whose steps take a second each, most of it asleep, so that signals arrive at a known point.
SLOW = """
import sys, time
from mlpconv.training import guard_runner
real = guard_runner.plan_step
def plan_step(*arguments, **options):
    print("step", file=sys.stderr, flush=True)
    time.sleep(1)
    return real(*arguments, **options)
guard_runner.plan_step = plan_step
from mlpconv.__main__ import main
main()
"""


def start(*arguments, program=None):
    command = ["-c", program] if program else ["-m", "mlpconv"]
    # One thread, whatever the tester's own setting: another number rounds differently.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLPCONV_ALLOCATOR": "keep"}
    return subprocess.Popen(
        [sys.executable, *command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for(stream, text):
    for line in stream:
        if text in line:
            return
    pytest.fail(f"the process ended without saying {text!r}")


def same_run(one, other):
    weights = [read_tensors(path / "weights.safetensors")[0] for path in (one, other)]
    assert list(weights[0]) == list(weights[1])
    assert all(weights[0][name].tobytes() == weights[1][name].tobytes() for name in weights[0])
    timeless = [
        [{key: value for key, value in line.items() if "second" not in key} for line in Run(path).history]
        for path in (one, other)
    ]
    assert timeless[0] == timeless[1]


def test_a_run_resumed_after_ctrl_c_equals_one_without_interruption(tmp_path):
    whole = start(*LONG, "--out", tmp_path / "whole", "--json")
    stopped = start(*LONG, "--out", tmp_path / "run")
    wait_for(stopped.stdout, "epoch 1/3")
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=300)
    assert stopped.returncode == 130
    assert err == f"stopped and saved; to continue: mlpconv train --out {tmp_path / 'run'} --resume\n"
    assert Run(tmp_path / "run").result is None
    assert list((tmp_path / "run" / "checkpoint").iterdir())

    resumed = start("train", "--out", tmp_path / "run", "--resume")
    out, err = resumed.communicate(timeout=300)
    assert (resumed.returncode, err) == (0, "")
    assert "resuming from epoch" in out
    # Nobody watches a pipe: nothing moves in it, nothing is coloured.
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", out)

    out, err = whole.communicate(timeout=300)
    assert (whole.returncode, err) == (0, "")
    assert out.count("\n") == 1
    said = json.loads(out)
    result = Run(tmp_path / "whole").result
    assert said["run"] == str(tmp_path / "whole")
    assert (said["loss"], said["test_accuracy"]) == (result.loss, result.test_accuracy)
    same_run(tmp_path / "whole", tmp_path / "run")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["allocator_keeps_memory"] is (platform.libc_ver()[0] == "glibc")


def test_sigterm_saves_and_an_unfinished_run_prints_no_json(tmp_path):
    process = start(*DIGITS, "--out", tmp_path / "run", "--json", program=SLOW)
    wait_for(process.stderr, "step")
    wait_for(process.stderr, "step")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert out == ""
    assert "stopped and saved; to continue" in err
    (checkpoint,) = (tmp_path / "run" / "checkpoint").iterdir()
    assert checkpoint.name.startswith("epoch-0000-step-")


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    process = start(*DIGITS, "--out", tmp_path / "run", "--json", program=SLOW)
    wait_for(process.stderr, "step")
    wait_for(process.stderr, "step")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert out == ""
    assert "stopped and saved" not in err
    assert "Traceback" not in err
    assert not list((tmp_path / "run" / "checkpoint").iterdir())


def test_the_first_signal_requests_a_stop_and_the_second_stops():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Stop(None) as stop:
        assert not stop.wanted()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wanted()
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with Stop(None) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.wanted(), stop.exit_code) == (True, 143)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_max_time_saves_and_stops(cli):
    said = cli(*QUICK, "--out", "run", "--max-time", "0s")
    assert said.code == 0
    assert "stopped and saved; to continue: mlpconv train --out run --resume" in said.err
    assert Run("run").result is None
    assert cli("train", "--out", "run", "--resume", "--max-time", "1h").code == 0
    assert Run("run").result.epochs == 1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("90", 90), ("1.5m", 90), ("2min", 120), ("2 h", 7200)])
def test_durations_are_parsed(text, seconds):
    from mlpconv.cli.train import _seconds

    assert _seconds(text, "--max-time") == seconds


def test_the_output_of_train(cli):
    said = cli(*QUICK, "--out", "run")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "Training nin_28 on digits"
    (epoch,) = (line for line in lines if line.startswith("epoch 1/1: loss "))
    result = Run("run").result
    assert f"test acc {result.test_accuracy:.3f}" in epoch
    assert (
        f"loss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, test acc {result.test_accuracy:.3f}" in lines
    )
    low, high = accuracy_interval(result.test_accuracy, 360)
    assert f"test acc of 360 images, 95 % interval {low:.3f} to {high:.3f}" in lines
    # What a run tells to do next can be done.
    following = [line.split("  ")[1] for line in lines if line.startswith("  mlpconv")]
    expected = ["predict", "evaluate", "summary", "train"]
    if wrong := what_is_wrong(result):  # after one epoch of few images, some classes may not be recognized
        assert any(line.startswith(wrong) for line in lines)
        expected = ["train", "train", "evaluate"]  # with balanced classes, with a lower learning rate
    assert [command.split()[1] for command in following] == expected
    assert cli(*following[1].split()[1:]).code == 0


def test_a_dry_run_prints_the_job_and_does_nothing(cli, tmp_path):
    said = cli(*QUICK, "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert list(tmp_path.iterdir()) == []
    _, _, toml = said.out.partition("FILE.toml):\n")
    Path("mine.toml").write_text(toml)
    plan = cli("train", "--recipe", "mine.toml", "--dry-run", "--json").json()
    again = cli(*QUICK, "--dry-run", "--json").json()
    assert plan["recipe"] == again["recipe"]
    assert plan["recipe"]["image_size"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_the_plan_names_the_threads_and_the_weights_that_training_starts_from(cli):
    import torch

    threads = torch.get_num_threads()
    plan = cli(*QUICK, "--dry-run").out
    assert f"{threads} thread{'s' * (threads != 1)})" in plan
    assert "start     identity weights" in plan


def test_another_model_uses_its_own_image_size(cli):
    def size(*arguments):
        return cli("train", "--data", "digits", "--dry-run", "--json", *arguments).json()["preprocess"]["size"]

    assert size() == 131  # the quick recipe's, for the chapter's network
    assert size("--model", "nin_28") == 28
    assert size("--set", "model=nin_28") == 28
    assert size("--model", "nin_28", "--image-size", "14") == 14
    assert size("--set", "model=nin_28", "--image-size", "14") == 14
    assert size("--model", "nin_28", "--set", "image_size=14") == 14


def test_a_run_is_repeated_from_its_directory(cli):
    assert cli(*QUICK, "--seed", "3", "--out", "first").code == 0
    assert cli("train", "--from", "first", "--out", "second").code == 0
    same_run(Path("first"), Path("second"))
    assert cli("train", "--from", "first", "--seed", "4", "--out", "third").code == 0
    recipe = Run("third").config.recipe
    assert (recipe.seed, recipe.image_size) == (4, 8)
    assert (
        Run("third").weights()["block1.conv.weight"].tobytes() != Run("first").weights()["block1.conv.weight"].tobytes()
    )


def test_a_finished_run_is_not_trained_again(cli):
    cli(*QUICK, "--out", "runs/mine")
    written = Path("runs/mine/weights.safetensors").stat().st_mtime_ns
    said = cli("train", "--resume")  # the latest
    assert said.code == 0
    assert "runs/mine: this run is finished; nothing is left to do" in said.out
    assert Path("runs/mine/weights.safetensors").stat().st_mtime_ns == written
    one_line = cli("train", "--resume", "--out", "runs/mine", "--json")
    assert one_line.json()["test_accuracy"] == Run("runs/mine").result.test_accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-time", "soon"], "--max-time soon: expected a time such as 90s"),
        (["--checkpoint-every", "often"], "--checkpoint-every often: expected a time such as 90s, 30m or 2h or, in"),
        (["--checkpoint-every", "0 steps"], "--checkpoint-every 0 steps: give 1 step or more"),
        (["--resume-override", "epochs"], "latest: there is no run in ./runs"),
        (["--from", "x", "--recipe", "quick"], "--from and --recipe: both say which recipe to take"),
        (["--from", "x"], "x: there is no such directory"),
        (["--resume"], "latest: there is no run in ./runs"),
        (["--set", "learn_rate=3"], "--set: unknown key 'learn_rate'; did you mean 'learning_rate'"),
        (["--optimizer", "adan"], "command line: optimizer: unknown name 'adan'; did you mean 'adam'"),
        (["--epochs", "0"], "command line: epochs must be at least 1"),
        (["--precision", "half"], "command line: unknown precision 'half'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--model", "nim"], "unknown model 'nim'; did you mean 'nin'"),
    ],
)
def test_errors_are_one_message_before_any_work(cli, tmp_path, arguments, message):
    said = cli("train", "--data", "digits", *arguments)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_resuming_with_other_settings_is_refused(cli):
    cli(*QUICK, "--out", "run", "--max-time", "0")
    said = cli("train", "--out", "run", "--resume", "--lr", "0.5")
    assert said.code == 2
    assert "run: cannot be resumed with other settings:\n  learning_rate: 0.003, now 0.5\nleave them out" in said.err
    said = cli(*QUICK, "--out", "run")
    assert (said.code, said.err) == (2, "error: run: holds a run; continue it with --resume, or choose another --out\n")


def test_failed_training_has_a_separate_exit_code(cli):
    said = cli(
        *QUICK, "--out", "run", "--lr", "1e30", "--optimizer", "sgd", "--set", "schedule=constant", "--epochs", "9"
    )
    assert said.code == 3
    assert "a lower learning rate (--lr" in said.err


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("5m", CheckpointPolicy(300)),
        ("30s", CheckpointPolicy(30)),
        ("200steps", CheckpointPolicy(300, 200)),
        ("1 step", CheckpointPolicy(300, 1)),
    ],
)
def test_the_checkpoint_interval_is_parsed(text, policy):
    from mlpconv.cli.train import _checkpoint_policy

    assert _checkpoint_policy(text) == policy


def test_the_defaults_are_the_network_and_the_data_of_the_chapter(cli, monkeypatch):
    from mlpconv.data import ImageDataset, Splits, dataset_source
    from mlpconv.jobs import run_data

    def load(name, **_):
        images, labels = np.zeros((40, 28, 28, 1), np.uint8), np.arange(40) % 10
        return Splits(*(ImageDataset(images, labels, dataset_source(name).class_names, name) for _ in range(2)))

    monkeypatch.setattr(run_data, "load_dataset", load)
    plan = cli("train", "--dry-run", "--json").json()
    assert (plan["recipe_name"], plan["data"]["name"]) == ("quick", "fashion-mnist")
    assert plan["recipe"]["model"] == "nin"


def test_old_names_of_options_work_with_a_notice(cli):
    assert cli(*QUICK, "--out", "run").code == 0
    said = cli("train", "--out", "run", "--resume-with", "epochs=2", "--json")
    assert said.code == 0
    assert said.err == "--resume-with is now --resume-override; the old name will be removed in the next version\n"
    assert Run("run").result.epochs == 2
    assert "start     all weights of run" in cli(*QUICK, "--start-from", "run", "--dry-run").out
    said = cli(*QUICK, "--weights", "run", "--dry-run", "--json")
    assert said.err == "--weights is now --start-from; the old name will be removed in the next version\n"
    assert json.loads(said.out)["start"] == "run"
    for command in ("train", "tune"):
        shown = cli(command, "--help").out
        assert not any(old in shown for old in ("--resume-with", "--weights", "--held-out"))


def test_the_old_name_of_the_recipe_folder_works_with_a_notice(cli, caplog):
    plan = cli("train", "--recipe", "own", "--data", "digits", "--dry-run", "--json").json()
    assert caplog.messages == ["the recipe own is now folder; the old name will be removed in the next version"]
    assert plan["recipe"]["balance"] == 0.5
    # A run that an earlier version called "own" is opened and resumed.
    assert cli(*QUICK, "--out", "run", "--max-time", "0").code == 0
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps(config | {"recipe_name": "own"}))
    caplog.clear()
    assert cli("train", "--out", "run", "--resume").code == 0
    assert caplog.messages == []
    assert Run("run").config.recipe_name == "own"
