"""Charts as SVG: every point at its position, whatever the values."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.drawing.charts import RUN_STYLES, STYLES, Chart, Line
from mlpconv.drawing.svg_chart import BOTTOM, LEFT, MAX_TOOLTIPS, RIGHT, TOP, _ticks, chart_svg, key_svg, line_css
from support.html_page import Page

WIDTH, HEIGHT = 400, 300
numbers = st.floats(0, 1e4) | st.sampled_from([math.nan, math.inf, -math.inf])
points = st.lists(st.tuples(st.floats(0, 1000), numbers), max_size=40)


def drawn(lines, y_max=None):
    """The chart of lines given as (name, points)."""
    styled = [Line(name, points, style) for (name, points), style in zip(lines, RUN_STYLES, strict=False)]
    content = chart_svg(Chart("", "t", styled, y_max=y_max), WIDTH, HEIGHT)
    Page(content)
    return content


@given(st.lists(points, min_size=1, max_size=3), st.none() | st.floats(0.1, 5))
def test_every_finite_point_is_drawn_inside_the_plot(all_points, y_max):
    content = drawn([(str(k), line) for k, line in enumerate(all_points)], y_max)
    positions = re.findall(r'class="point" transform="translate\(([-\d.e+]+) ([-\d.e+]+)\)', content)
    finite = [point for line in all_points for point in line if math.isfinite(point[1])]
    assert len(positions) == len(finite)
    for x, y in positions:
        assert 0 <= float(x) <= WIDTH - LEFT - RIGHT
        assert float(y) <= HEIGHT - TOP - BOTTOM + 0.1
        if y_max is None:
            assert float(y) >= -0.1


def test_a_point_is_drawn_at_its_position():
    content = drawn([("loss", [(0, 0), (1, 1), (2, 2)])], 2.0)
    x, y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    assert f'points="0,{y} {x / 2:g},{y / 2:g} {x},0"' in content
    assert "epoch 2: loss 2" in content


def test_a_long_line_has_few_tooltips_and_that_of_its_last_point():
    content = drawn([("loss", [(k / 100, 1.0) for k in range(5001)])])
    assert MAX_TOOLTIPS / 2 < content.count('class="point"') <= MAX_TOOLTIPS
    assert "epoch 50: loss 1" in content
    assert content.count(",") > 5000


def test_names_are_escaped():
    content = drawn([("<b>&\x00", [(1, 1)])])
    assert "<b>" not in content
    assert "&lt;b&gt;&amp;\ufffd" in content


@given(st.floats(0, 100), st.floats(1e-3, 1e4), st.integers(2, 10))
def test_ticks_are_round_few_and_inside(low, width, count):
    ticks = _ticks(low, low + width, count)
    assert len(ticks) <= count + 1
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    if ticks[1:]:
        step = max(steps)
        assert step - min(steps) <= 1e-6 * step
        assert f"{step:.0e}"[0] in "125"


@pytest.mark.parametrize("values", [[], [(1, 0.0)], [(1, 5.0), (2, 5.0)], [(0, 1.0)]])
def test_edge_cases_are_drawn(values):
    assert "nan" not in drawn([("a", values)])


def test_every_style_has_a_color_in_light_and_dark_pages():
    css = line_css(STYLES, ".page")
    light, dark = css.split("@media(prefers-color-scheme:dark)")
    for style in STYLES:
        assert f'class="line {style.name}"' in key_svg(style)
        assert f".page .{style.name}{{color:{style.light};" in light
        assert f".page .{style.name}{{color:{style.dark};" in dark
        assert f".page .{style.name}{{color:{style.neutral};" in line_css(STYLES, ".page", neutral=True)


def luminance(color):
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_lines_stand_out_from_their_background(style):
    """WCAG asks for a contrast of 3:1 between graphics and what is next to them."""
    for color, backgrounds in ((style.light, "#ffffff"), (style.dark, "#14181d"), (style.neutral, "#ffffff #14181d")):
        for background in backgrounds.split():
            darker, lighter = sorted(map(luminance, (color, background)))
            assert (lighter + 0.05) / (darker + 0.05) >= 3
