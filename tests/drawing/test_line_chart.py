"""Charts: every point where it belongs, whatever the values."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import Page

from mlpconv.drawing.line_chart import BOTTOM, LEFT, MOST_HINTS, RIGHT, TOP, Line, _ticks, line_chart

WIDTH, HEIGHT = 400, 300
numbers = st.floats(0, 1e4) | st.sampled_from([math.nan, math.inf, -math.inf])
points = st.lists(st.tuples(st.floats(0, 1000), numbers), max_size=40)


def drawn(lines, **options):
    content = line_chart(lines, title="t", width=WIDTH, height=HEIGHT, **options)
    Page(content)
    return content


@given(st.lists(points, min_size=1, max_size=3), st.none() | st.floats(0.1, 5))
def test_every_finite_point_is_drawn_inside_the_plot(all_points, top):
    content = drawn([Line(str(k), each, "c0") for k, each in enumerate(all_points)], top=top)
    places = re.findall(r'class="point" transform="translate\(([-\d.e+]+) ([-\d.e+]+)\)', content)
    finite = [p for each in all_points for p in each if math.isfinite(p[1])]
    assert len(places) == len(finite)
    for x, y in places:
        assert 0 <= float(x) <= WIDTH - LEFT - RIGHT
        assert float(y) <= HEIGHT - TOP - BOTTOM + 0.1
        if top is None:
            assert float(y) >= -0.1


def test_a_point_stands_at_its_place():
    content = drawn([Line("loss", [(0, 0), (1, 1), (2, 2)], "loss")], top=2.0)
    x, y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    assert f'points="0,{y} {x / 2:g},{y / 2:g} {x},0"' in content
    assert "epoch 2: loss 2" in content


def test_a_long_line_has_few_hints_and_its_last_one():
    content = drawn([Line("loss", [(k / 100, 1.0) for k in range(5001)], "loss")])
    assert MOST_HINTS / 2 < content.count('class="point"') <= MOST_HINTS
    assert "epoch 50: loss 1" in content
    assert content.count(",") > 5000


def test_names_are_escaped():
    content = drawn([Line("<b>&\x00", [(1, 1)], "loss")])
    assert "<b>" not in content
    assert "&lt;b&gt;&amp;\ufffd" in content


@given(st.floats(0, 100), st.floats(1e-3, 1e4), st.integers(2, 10))
def test_ticks_are_round_few_and_inside(low, width, most):
    ticks = _ticks(low, low + width, most)
    assert len(ticks) <= most + 1
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    if ticks[1:]:
        step = max(steps)
        assert step - min(steps) <= 1e-6 * step
        assert f"{step:.0e}"[0] in "125"


@pytest.mark.parametrize("values", [[], [(1, 0.0)], [(1, 5.0), (2, 5.0)], [(0, 1.0)]])
def test_edge_cases_are_drawn(values):
    assert "nan" not in drawn([Line("a", values, "loss")])
