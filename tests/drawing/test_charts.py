"""The description of charts: which points are drawn of a history, and how far the axes reach."""

import math
import re

from mlpconv.drawing.charts import CURVES, MAX_RUNS, RUN_STYLES, STYLES, comparison_charts, run_chart

LABELS = ["train loss", "train acc", "test acc"]
WITH_VALIDATION = ["train loss", "train acc", "validation acc", "test acc"]


def history(epochs, loss=0.5):
    return [
        {"epoch": n + 1, "curve": [[n + k / 5, loss, 0.6] for k in range(1, 6)], "test_accuracy": 0.7}
        for n in range(epochs)
    ]


def test_a_run_has_all_its_curves_in_one_chart():
    chart = run_chart(history(2), "a run")
    assert [line.name for line in chart.lines] == LABELS
    assert [curve.label for curve in CURVES] == WITH_VALIDATION
    loss, accuracy, test = chart.lines
    assert loss.points[:2] == [(0.2, 0.5), (0.4, 0.5)]
    assert accuracy.points[-1] == (2.0, 0.6)
    assert test.points == [(1, 0.7), (2, 0.7)]
    assert [line.last for line in chart.lines] == [0.5, 0.6, 0.7]
    assert "a run" in chart.title


def test_an_unfinished_epoch_extends_the_training_curves():
    chart = run_chart(history(1), unfinished=[[1.2, 0.4, 0.8]])
    assert [len(line.points) for line in chart.lines] == [6, 6, 1]
    assert chart.lines[0].last == 0.4
    assert [line.last for line in run_chart([]).lines] == [None] * 3


def test_the_validation_accuracy_is_drawn_where_it_was_measured():
    validated = [line | {"validation_accuracy": 0.8} for line in history(2)]
    chart = run_chart(validated)
    assert [line.name for line in chart.lines] == WITH_VALIDATION
    assert chart.lines[2].points == [(1, 0.8), (2, 0.8)]
    assert [
        line.name for line in run_chart([line | {"validation_accuracy": None} for line in history(2)]).lines
    ] == LABELS
    charts = comparison_charts([validated, history(1)], ["a", "b"])
    assert [chart.name for chart in charts] == WITH_VALIDATION
    assert [len(line.points) for line in charts[2].lines] == [2, 0]


def test_a_high_loss_does_not_flatten_the_accuracies():
    assert run_chart(history(1, loss=0.9)).y_max == 1.05
    assert run_chart(history(1, loss=2.0)).y_max == 2.1
    assert run_chart(history(1, loss=50.0)).y_max == 2.5
    assert run_chart(history(1, loss=math.nan)).y_max == 1.05


def test_a_chart_says_what_it_does_not_show():
    assert run_chart(history(1, loss=2.0)).note == ""
    assert run_chart(history(1, loss=50.0)).note == "train loss up to 50 is above this axis"
    assert re.fullmatch(r"train loss is not finite at \d+ points?", run_chart(history(1, loss=math.nan)).note)


def test_a_comparison_has_a_chart_for_each_curve_and_a_line_for_each_run():
    charts = comparison_charts([history(2), history(1), []], ["a", "b", "c"])
    assert [chart.name for chart in charts] == LABELS
    for chart in charts:
        assert [line.name for line in chart.lines] == ["a", "b", "c"]
        assert len({line.style.name for line in chart.lines}) == 3
    assert [len(line.points) for line in charts[2].lines] == [2, 1, 0]


def test_every_line_style_has_its_own_name_and_colors():
    assert len(RUN_STYLES) == MAX_RUNS
    assert len({style.name for style in STYLES}) == len(STYLES)
    assert len({style.light for style in RUN_STYLES}) == len({style.dark for style in RUN_STYLES}) == MAX_RUNS
