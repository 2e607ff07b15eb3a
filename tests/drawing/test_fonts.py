"""Names in any script: the fonts that draw them, and one line of advice where none does."""

import shutil

import pytest

from mlpconv.drawing import fonts
from mlpconv.drawing.fonts import font_advice, font_families


@pytest.fixture
def only_latin(monkeypatch):
    """A machine whose only font is Matplotlib's own."""
    monkeypatch.setattr(fonts, "_installed", lambda: frozenset({"DejaVu Sans"}))


def test_names_that_can_be_drawn_need_no_advice(only_latin):
    assert font_advice(["cat", "кошка", "Größe 7 µm", "new\nline", ""]) is None
    assert font_families("cat") == ["DejaVu Sans"]


@pytest.mark.parametrize(
    ("names", "shown", "package"),
    [
        (["猫", "a猫犬"], "犬 猫", "fonts-noto-cjk"),
        (["ねこ"], "こ ね", "fonts-noto-cjk"),
        (["고양이"], "고 양 이", "fonts-noto-cjk"),
        (["แมว"], "ม ว แ", "fonts-noto-core"),
        (["一二三四五六七八九十"], " …", "fonts-noto-cjk"),
    ],
)
def test_missing_fonts_are_one_line_of_advice(only_latin, names, shown, package):
    advice = font_advice(names)
    assert advice is not None
    assert "\n" not in advice
    assert f"no installed font has {shown}" in advice or shown == " …"
    assert shown in advice
    assert package in advice


def test_a_font_that_was_installed_later_is_found(tmp_path, monkeypatch):
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    path = tmp_path / "copy.ttf"
    shutil.copy(font_manager.findfont("DejaVu Serif"), path)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path), str(tmp_path / "none.ttf")])
    fonts._installed.cache_clear()
    assert fonts._installed() == {FT2Font(str(path)).family_name}
    fonts._installed.cache_clear()
