"""Curves that grow while a run trains, at a bounded cost, and the display of a run."""

import logging
import signal
import statistics
import sys
import time
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlpconv
import mlpconv.api
from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, Linear
from mlpconv.arch.network import Network
from mlpconv.data import Splits
from mlpconv.inference.classifier import Predictions
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.notebook import to_html
from mlpconv.notebook.chart import curves_html
from mlpconv.notebook.live import MAX_TIME_SHARE, LiveCurves, in_notebook, watch
from mlpconv.runs.run import Run
from mlpconv.training.recipe import Recipe
from support.notebook_html import HOSTILE, cells, dataset, parse, text

numbers = st.floats(0) | st.floats(0, 3) | st.just(float("nan"))  # no loss or accuracy is below zero
lines = st.lists(st.tuples(st.lists(st.lists(numbers, min_size=3, max_size=3), max_size=5), numbers), max_size=6)


@given(lines, st.integers(0, 300))
def test_curves_of_any_history_are_well_formed(history, epochs):
    history = [
        {
            "epoch": index + 1,
            "curve": [[index + (k + 1) / 5, *point[1:]] for k, point in enumerate(curve)],
            "test_accuracy": accuracy,
        }
        for index, (curve, accuracy) in enumerate(history)
    ]
    assert "Loss and accuracy by epoch" in text(curves_html(history, [], epochs))


def history_of(epochs):
    return [
        {"epoch": n + 1, "curve": [[n + k / 5, 2 / (n + 1), 0.5] for k in range(1, 6)], "test_accuracy": 0.8}
        for n in range(epochs)
    ]


def points_of(html):
    """The number of points of each curve."""
    return {node.get("class"): len(node.get("points").split()) for node in parse(html).iter("polyline")}


def test_curves_show_all_points_and_the_newest_values():
    html = curves_html(history_of(3), [[3.2, 0.5, 0.9]])
    assert points_of(html) == {"line loss": 16, "line train": 16, "line test": 3}
    assert "train loss 0.500 train acc 0.900 test acc 0.800" in " ".join(text(html).split())


def test_the_axis_reaches_to_the_last_epoch_from_the_start():
    ticks = [node.text for node in parse(curves_html([], [[0.2, 1.0, 0.1]], 10)).iter("text")]
    assert "10" in ticks
    assert "10" not in [node.text for node in parse(curves_html([], [[0.2, 1.0, 0.1]])).iter("text")]


class Clock:
    """Time that passes only when a test changes it, and while something is published."""

    def __init__(self, cost):
        self.now, self.cost, self.pages = 0.0, cost, []

    def __call__(self):
        return self.now

    def publish(self, html, text):
        self.now += self.cost
        self.pages.append((html, text))


@given(st.floats(1e-4, 2), st.lists(st.floats(0.001, 60), min_size=1, max_size=60))
def test_drawing_takes_at_most_its_share_of_the_time(cost, waits):
    clock = Clock(cost)
    live = LiveCurves(3, clock.publish, clock)
    drawn = [live.draw([], [], "first")]
    for wait in waits:
        clock.now += wait
        drawn.append(live.draw([], [], "x"))
    assert drawn[0]
    assert sum(drawn) == len(clock.pages)
    # The first is always drawn; all after it only within the share.
    assert (sum(drawn) - 1) * cost <= MAX_TIME_SHARE * clock.now * (1 + 1e-9)
    assert live.draw([], [], "last", always=True)
    assert clock.pages[-1][1] == "last"


def test_fast_drawing_shows_every_point():
    clock = Clock(0.002)
    live = LiveCurves(3, clock.publish, clock)
    live.draw([], [], "first")
    for _ in range(15):
        clock.now += 8
        assert live.draw([], [], "x")


def test_one_drawing_takes_milliseconds():
    # Then even a run of a minute shows all its points: 15 drawings within 1 % of 60 s is 40 ms each.
    live, history = LiveCurves(10, lambda html, text: None), history_of(10)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        live.draw(history, [], "x", always=True)
        seconds.append(time.perf_counter() - began)
    assert statistics.median(seconds) < 0.04


@pytest.fixture
def recipe(tmp_path):
    net = Network(Conv2d(4, 3, padding=1), GlobalAvgPool2d(), Flatten(), Linear(2), input_size=8)
    path = tmp_path / "tiny.json"
    path.write_text(net.to_json())
    return Recipe(model=str(path), epochs=3, batch_size=8, image_size=8, learning_rate=0.01)


@pytest.fixture
def splits():
    return Splits(dataset(40), dataset(10))


@pytest.fixture
def notebook(monkeypatch):
    """A fake IPython with a kernel; the list of what it is asked to show."""
    shown = []
    shell = types.SimpleNamespace(kernel=object())
    display = types.SimpleNamespace(
        display=lambda data, *, raw, display_id: shown.append(("display", display_id, data)),
        update_display=lambda data, *, raw, display_id: shown.append(("update", display_id, data)),
    )
    # Matplotlib asks for the version.
    fake = types.SimpleNamespace(get_ipython=lambda: shell, display=display, version_info=(9, 0, 0))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_notebook_is_recognized_by_its_kernel(monkeypatch, notebook):
    assert in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()))
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
    assert "IPython" not in sys.modules


def test_in_a_notebook_the_curves_grow_in_one_output(notebook, recipe, splits, tmp_path, capsys):
    run = mlpconv.train(recipe, data=splits, out=tmp_path / "run")
    assert isinstance(run, Run)
    assert notebook[0][0] == "display"
    assert {kind for kind, _, _ in notebook[1:]} == {"update"}
    assert len({output for _, output, _ in notebook}) == 1
    last = notebook[-1][2]
    assert last["text/plain"].startswith("epoch 3 of 3: loss ")
    assert points_of(last["text/html"])["line test"] == 3
    result = run.result
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"loss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, test acc {result.test_accuracy:.3f}"
    )
    assert second.startswith(f"{result.examples_per_second:.1f} examples/sec on cpu (")


@pytest.mark.parametrize("live", [True, False])
def test_outside_a_notebook_nothing_is_shown(recipe, splits, tmp_path, capfd, live, request):
    if not live:  # not even in a notebook
        request.getfixturevalue("notebook")
    mlpconv.train(recipe, data=splits, out=tmp_path / "run", options=mlpconv.TrainOptions(live=live))
    assert capfd.readouterr() == ("", "")


def test_all_points_are_offered_to_the_curves(recipe, splits, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        LiveCurves,
        "draw",
        lambda self, history, unfinished, status, always=False: drawn.append(
            sum(len(line["curve"]) for line in history) + len(unfinished)
        ),
    )
    job = prepare(Request(recipe=recipe), splits)
    for _ in watch(execute(job, tmp_path / "run", ExecuteOptions(report_seconds=1e9))):
        pass
    assert sorted(set(drawn)) == list(range(16))  # five marks in each of three epochs


def test_a_run_shows_its_result_and_curves(recipe, splits, tmp_path):
    run = mlpconv.train(recipe, data=splits, out=tmp_path / "<i>run & $x_$")
    html = to_html(run)
    assert "<i>run & $x_$" in text(html)
    assert cells(html)[1][2] == f"{run.result.test_accuracy:.3f}"
    assert "test acc of 10 images, 95 % interval" in text(html)
    assert HOSTILE in text(html)
    assert "learning_rate = 0.01" in text(html)
    assert points_of(html)["line test"] == 3
    predictions = mlpconv.load(run).predict(splits.test.images, top=2)
    assert isinstance(predictions, Predictions)
    assert np.array_equal(predictions.images, splits.test.images)
    assert HOSTILE in text(to_html(predictions))


def test_a_damaged_run_is_shown_as_far_as_possible(recipe, splits, tmp_path):
    run = mlpconv.train(recipe, data=splits, out=tmp_path / "run")
    (run.path / "history.jsonl").write_text("{")
    assert "history.jsonl: damaged" in text(to_html(run))


class Interrupt(logging.Handler):
    """Presses Ctrl-C when an epoch ends."""

    def emit(self, record):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_saves_and_explains_how_to_resume(recipe, splits, tmp_path, caplog):
    out, logger, interrupt = tmp_path / "run", logging.getLogger("mlpconv.api"), Interrupt()
    caplog.set_level(logging.INFO, "mlpconv.api")
    logger.addHandler(interrupt)
    try:
        with pytest.raises(
            KeyboardInterrupt,
            match=r"stopped, and saved in .*; to continue, .* with out=.*, resume=True",
        ):
            mlpconv.train(recipe, data=splits, out=out)
    finally:
        logger.removeHandler(interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run = Run(out)
    assert run.result is None
    assert len(run.history) == 1
    assert "not finished: 1 of 3 epochs" in text(to_html(run))
    resumed = mlpconv.train(recipe, data=splits, out=out, resume=True)
    whole = mlpconv.train(recipe, data=splits, out=tmp_path / "whole")
    assert resumed.result.test_loss == whole.result.test_loss
