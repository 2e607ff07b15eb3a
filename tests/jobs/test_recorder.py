"""The files that training writes for the report; a report that cannot be written is only a warning."""

import errno
import logging
import os

import numpy as np
import pytest

from mlpconv.reports import report
from mlpconv.reports.report import report_html
from mlpconv.runs import evaluation
from mlpconv.runs.evaluation import EVALUATION
from support import tiny_training
from support.html_page import Page


def test_the_stored_evaluation_is_that_of_the_last_epoch(tmp_path):
    run, events = tiny_training.train(tmp_path / "run")
    test = events[-1].test
    kept = evaluation.load(run.path, len(tiny_training.NAMES))
    labels = tiny_training.DATA.test.labels
    assert kept.epoch == 3
    assert kept.confusion.tolist() == test.confusion.tolist() == run.result.confusion
    wrong = np.flatnonzero(test.predicted != labels)
    assert sorted(kept.mistakes.indices) == sorted(wrong)
    assert (kept.mistakes.labels == labels[kept.mistakes.indices]).all()
    assert (kept.mistakes.predicted == test.predicted[kept.mistakes.indices]).all()
    assert (kept.mistakes.images == tiny_training.DATA.test.images[kept.mistakes.indices]).all()
    assert (run.path / "report.html").read_text() == report_html(run)


def test_a_stopped_run_has_a_report_and_the_same_evaluation_after_resuming(tmp_path):
    whole, _ = tiny_training.train(tmp_path / "whole")
    path = tmp_path / "stopped"
    stopped, _ = tiny_training.train(path, stop_after=12)
    text = Page(report_html(stopped)).text
    assert "This run is not finished: 1 of 3 epochs are done" in text
    assert "Most confident mistakes" in text
    assert not (path / "report.html").exists()
    tiny_training.train(path, resume=True)
    assert (path / EVALUATION).read_bytes() == (whole.path / EVALUATION).read_bytes()
    assert "not finished" not in Page((path / "report.html").read_text()).text


def test_a_run_killed_before_its_last_evaluation_was_stored_repeats_it(tmp_path, monkeypatch):
    whole, _ = tiny_training.train(tmp_path / "whole")
    path = tmp_path / "run"

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "save", die)
        with pytest.raises(KeyboardInterrupt):
            tiny_training.train(path, job=tiny_training.prepared(epochs=3))
        # Each resume completes one epoch and is killed after its checkpoint.
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                tiny_training.train(path, resume=True)
    tiny_training.train(path, resume=True)
    kept, expected = (evaluation.load(place, len(tiny_training.NAMES)) for place in (path, whole.path))
    assert kept.epoch == expected.epoch == 3
    assert kept.confusion.tolist() == expected.confusion.tolist()


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("write_report", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device; free some space"),
        ("save_curves", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device; free some space"),
        ("save_curves", MemoryError(), "no memory left; use smaller images or batches"),
        (
            "save_curves",
            ImportError("ft2font.so: failed to map segment from shared object"),
            "the limit on memory (ulimit -v) is too low to load the libraries",
        ),
    ],
)
def test_a_report_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, caplog, what, error, said):
    from mlpconv.drawing import plots

    def fails(*_):
        raise error

    monkeypatch.setattr(report if what == "write_report" else plots, what, fails)
    with caplog.at_level(logging.WARNING):
        run, _ = tiny_training.train(tmp_path / "run", job=tiny_training.prepared(epochs=1))
    assert run.result is not None
    assert f"could not be written: {said}" in caplog.text
    assert f", then: mlpconv report {run.path}" in caplog.text
    assert not (run.path / "report.html").exists()


def test_a_bug_in_the_report_is_not_a_warning(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(report, "write_report", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        tiny_training.train(tmp_path / "run", job=tiny_training.prepared(epochs=1))


def test_a_forecast_is_stored_and_reported(tmp_path):
    prepared = tiny_training.prepared(epochs=1)
    ahead = prepared.forecast()
    run, _ = tiny_training.train(tmp_path / "run", job=prepared)
    assert run.forecast == ahead
    assert f"{ahead.images_per_second:,.1f}" in Page(report_html(run)).text
    assert run.environment["device"].startswith("cpu (")
    assert run.result.peak_resident_bytes is None or run.result.peak_resident_bytes > 2**20


def test_a_run_without_a_forecast_has_none(tmp_path):
    run, _ = tiny_training.train(tmp_path / "run", job=tiny_training.prepared(epochs=1))
    assert run.forecast is None
    assert "no forecast" in Page(report_html(run)).text
