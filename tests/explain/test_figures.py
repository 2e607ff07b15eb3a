"""Figures of class maps: what is drawn, at which scale, with which labels."""

import numpy as np
import pytest

from mlpconv.drawing.plots import png
from mlpconv.explain.class_maps import ClassMaps
from mlpconv.explain.figures import map_limit, overlay_figure, paper_figure

NAMES = ("cat", "do$g$", "馬", "_bird")


def maps(rectified=True, channels=3, side=(6, 9)):
    draw = np.random.default_rng(0)
    before = draw.normal(0, 1, (2, 4, 2, 3)).astype(np.float32)
    before[0, 1, 1, 2] = -7
    images = draw.integers(0, 256, (2, *side, channels), np.uint8)
    return ClassMaps(before, rectified, NAMES, ["a", "b"], images, np.array([1.5, 4.5]), np.array([1.5, 4.5, 7.5]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rectified", [True, False])
def test_an_overlay_for_each_class_on_one_scale(rectified, channels):
    found = maps(rectified, channels)
    figure = overlay_figure(found, 0, [2, 1])
    *panels, bar = figure.axes
    assert len(panels) == 3 * (1 + rectified)
    titles = [axes.get_title() for axes in panels[:3]]
    assert titles[0] == "image"
    assert titles[1].startswith("馬\nlogit ")
    assert titles[2] == f"do$g$\nlogit {found.logits[0, 1]:.2f}"
    assert bar.get_ylim() == (-7, 7)
    assert map_limit(found, 0, [2, 1]) == 7
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("rectified", [True, False])
def test_a_difference_has_a_panel_with_its_mean_next_to_the_maps(rectified):
    found = maps(rectified, channels=1)
    found.images[:] = 128
    figure = overlay_figure(found, 0, [2, 1], [(2, 1)])
    *panels, _ = figure.axes
    assert len(panels) == 4 * (1 + rectified)
    assert panels[-1].get_title() == f"馬 − do$g$\n{found.logits[0, 2] - found.logits[0, 1]:+.2f}"
    picture = panels[-1].get_images()[0].get_array().astype(int)
    over = found.over_images(found.difference(2, 1)[0])
    scale = picture.shape[0] // over.shape[0]
    redder = (picture[..., 0] - picture[..., 2])[scale // 2 :: scale, scale // 2 :: scale]
    clear = np.abs(over) > 0.1 * map_limit(found, 0, [2, 1], [(2, 1)])
    np.testing.assert_array_equal((redder > 0)[clear], (over > 0)[clear])
    assert png(figure).startswith(b"\x89PNG")


def test_the_strongest_place_is_marked_with_its_receptive_field_within_the_image():
    found = maps(rectified=False)._replace(receptive_field=(4.0, 100.0))
    found.before[0, 1, 0, 1] = 9
    panel = overlay_figure(found, 0, [1]).axes[1]
    scale = panel.get_images()[0].get_array().shape[0] / 6
    for frame in panel.patches:
        # 4 rows around the first position, at 1.5, begin above the image; 100 columns are all 9.
        assert frame.get_xy() == pytest.approx((-0.5, -0.5))
        assert (frame.get_width(), frame.get_height()) == pytest.approx((9 * scale, 3.5 * scale))
    assert len(panel.patches) == 2
    (x,), (y,) = panel.lines[0].get_data()
    assert (x, y) == pytest.approx((4.5 * scale - 0.5, 1.5 * scale - 0.5))


def test_maps_without_a_receptive_field_are_marked_with_the_place_alone():
    panel = overlay_figure(maps(), 0, [1]).axes[1]
    assert not panel.patches
    assert panel.lines


def test_evidence_against_is_shown_only_before_the_relu():
    found = maps(channels=1)
    found.images[:] = 128
    figure = overlay_figure(found, 0, [1])
    before, behind = (figure.axes[place].get_images()[0].get_array() for place in (1, 3))
    blue = [(picture[..., 2].astype(int) > picture[..., 0].astype(int) + 40).sum() for picture in (before, behind)]
    assert blue[0] > 0
    assert blue[1] == 0


def test_the_papers_figure_has_a_row_for_each_image_and_frames_the_true_class():
    figure = paper_figure(maps(), np.array([1, 3]), range(4))
    panels = figure.axes[:10]
    assert [axes.get_title() for axes in panels[1:5]] == list(NAMES)
    framed = [index for index, axes in enumerate(panels) if axes.spines["left"].get_visible()]
    assert framed == [2, 9]
    shown = panels[1].get_images()[0].get_array()
    np.testing.assert_allclose(shown, np.maximum(maps().before[0, 0], 0))
    assert png(figure).startswith(b"\x89PNG")


def test_maps_without_any_evidence_are_drawn():
    nothing = maps()
    nothing.before[:] = 0
    assert map_limit(nothing, 0, [0]) == 1
    png(overlay_figure(nothing, 0, [0]))
    png(paper_figure(nothing, np.array([0, 1]), range(4)))


def test_maps_of_one_position_are_drawn_as_bars_and_as_a_matrix():
    single = maps()
    single = single._replace(before=single.before[:, :, :1, :1], rows=single.rows[:1], columns=single.columns[:1])
    figure = overlay_figure(single, 0, [2, 1])
    _, bars = figure.axes
    assert [text.get_text() for text in bars.get_yticklabels()] == [NAMES[2], NAMES[1]]
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], single.before[0, [2, 1], 0, 0])
    assert png(figure).startswith(b"\x89PNG")

    _, bars = overlay_figure(single, 0, [2], [(2, 1), (0, 3)]).axes
    assert [text.get_text() for text in bars.get_yticklabels()] == [NAMES[2], "馬 − do$g$", "cat − _bird"]
    np.testing.assert_allclose(bars.patches[1].get_width(), single.logits[0, 2] - single.logits[0, 1], rtol=1e-6)

    matrix, _ = paper_figure(single, np.array([1, 3]), range(4)).axes
    shown = matrix.get_images()[0].get_array()
    after = np.maximum(single.before[..., 0, 0], 0)
    np.testing.assert_allclose(shown, after / after.max(axis=1, keepdims=True))
    assert [frame.get_xy() for frame in matrix.patches] == [(0.5, -0.5), (2.5, 0.5)]
