import io
import sys

import numpy as np
import pytest

from mlpconv.data import ImageDataset, sample_sheet
from mlpconv.errors import DataError

pytest.importorskip("matplotlib")


def make(labels, shape, names):
    """Images of one colour each: red is the label's, so that the sheet says which class it drew."""
    labels = np.asarray(labels, np.int64)
    images = np.broadcast_to((labels * 50).astype(np.uint8)[:, None, None, None], (len(labels), *shape))
    return ImageDataset(images, labels, tuple(names), "set/train")


def drawn(figure):
    return figure.axes[0].images[0].get_array()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_sheet_has_a_row_for_each_class(channels):
    figure = sample_sheet(make([0, 1, 2] * 4, (6, 8, channels), "abc"), columns=3)
    sheet = drawn(figure)
    assert sheet.shape == (3 * 8 - 2, 3 * 10 - 2, 3)
    for row in range(3):
        for column in range(3):
            tile = sheet[row * 8 : row * 8 + 6, column * 10 : column * 10 + 8]
            assert (tile == row * 50).all()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]
    assert "matplotlib.pyplot" not in sys.modules


def test_a_class_with_few_images_has_blanks_and_rows_can_be_limited():
    sheet = drawn(sample_sheet(make([0, 0, 0, 1, 2], (6, 6, 1), "abc"), rows=2))
    assert sheet.shape == (2 * 8 - 2, 3 * 8 - 2, 3)
    assert (sheet[8:14, :6] == 50).all()
    assert (sheet[8:14, 8:] == 255).all()


def test_large_images_are_drawn_small():
    assert max(drawn(sample_sheet(make([0, 1], (1000, 300, 3), "ab"))).shape[:2]) < 300


def test_names_in_any_script_are_drawn_unchanged():
    from matplotlib import font_manager

    if not any("CJK" in name for name in font_manager.fontManager.get_font_names()):
        pytest.skip("no font here has Chinese and Japanese")
    figure = sample_sheet(make([0, 1, 2, 3], (6, 6, 1), ["鞋子", "コート", "$x^", "a\\b_{"]))
    file = io.BytesIO()
    figure.savefig(file, format="png")  # a missing character or font would warn, and fail this test
    assert file.getvalue().startswith(b"\x89PNG")


def test_the_seed_selects_the_samples():
    rng = np.random.default_rng(3)
    data = ImageDataset(rng.integers(0, 256, (50, 4, 4, 1), np.uint8), np.zeros(50, np.int64), ("a",), "s")
    assert (drawn(sample_sheet(data)) == drawn(sample_sheet(data))).all()
    assert (drawn(sample_sheet(data)) != drawn(sample_sheet(data, seed=1))).any()


def test_invalid_sheets_are_refused():
    with pytest.raises(DataError, match="expected images of 1 or 3 channels, received 2"):
        sample_sheet(make([0], (4, 4, 2), "a"))
    with pytest.raises(DataError, match="received 0 and None"):
        sample_sheet(make([0], (4, 4, 1), "a"), columns=0)
