"""Charts as PNG: any name is drawn unchanged, in any script."""

import pytest

from mlpconv.drawing.fonts import font_families, has_kana
from mlpconv.drawing.plots import comparison_figure, curves_figure
from support.run_directories import make_run


@pytest.fixture
def history(tmp_path):
    return make_run(tmp_path / "run").history


@pytest.mark.parametrize("name", ["$\\frac", "a_b $x$", "_hidden"])
def test_a_name_is_drawn_as_text_and_never_as_a_formula(history, name):
    figure = curves_figure(history, name)
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == name
    compared = comparison_figure([history, history], [name, "other"])
    compared.draw_without_rendering()
    assert [text.get_text() for text in compared.legends[0].get_texts()] == [name, "other"]


def test_the_curves_of_several_runs(history):
    figure = comparison_figure([history, history[:1], []], ["a", "b", "c"])
    assert [axes.get_title() for axes in figure.axes] == ["train loss", "train acc", "test acc"]
    loss, _, test = figure.axes
    assert list(loss.lines[0].get_ydata()) == [point[1] for line in history for point in line["curve"]]
    assert [len(line.get_xdata()) for line in test.lines] == [3, 1, 0]


@pytest.mark.parametrize("name", ["数据集，上衣与靴子", "くつとブーツ"])
def test_chinese_and_japanese_are_drawn(history, name):
    """A character that no font has would draw a warning, and warnings are errors here."""
    if not {"Noto Sans CJK SC", "Noto Sans CJK JP"} <= set(font_families()):
        pytest.skip("no font that has them; on Debian: apt install fonts-noto-cjk")
    curves_figure(history, name).draw_without_rendering()
    comparison_figure([history, history], [name, "b"]).draw_without_rendering()


def test_a_text_with_kana_is_drawn_in_japanese_shapes():
    assert has_kana("靴くつ")
    assert has_kana("ブーツ")
    assert not has_kana("靴 boot 신발")
    families = font_families("くつ")
    if {"Noto Sans CJK SC", "Noto Sans CJK JP"} <= set(families):
        assert families.index("Noto Sans CJK JP") < families.index("Noto Sans CJK SC")
    assert set(families) == set(font_families())
