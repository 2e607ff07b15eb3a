"""Fonts and languages for class names in any script."""

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

# Matplotlib takes each character from the first family that has it.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "IPAGothic",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Arial Unicode MS",
)
_JAPANESE = {"DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "IPAGothic", "Hiragino Sans", "Yu Gothic"}

_MAX_SHOWN = 8


def font_families(text: str = "") -> list[str]:
    """The installed font families for Matplotlib to draw a text with, in order of preference.

    Some characters have different shapes in Chinese and Japanese: a text that contains kana is drawn as Japanese. Fonts
    for other scripts are used if they belong to the Noto Sans family.
    """
    # Matplotlib logs a warning for every text with a family that is not installed.
    installed = _installed()
    families = [family for family in _FAMILIES if family in installed]
    if has_kana(text):
        families.sort(key=lambda family: family not in _JAPANESE)
    for family in sorted(installed) if (missing := _missing(text, families)) else ():
        if family.startswith("Noto Sans ") and not missing.isdisjoint(_letters(family)):
            families.append(family)
            missing -= _letters(family)
    return families


def font_advice(texts: Iterable[str]) -> str | None:
    """Which font to install to draw these texts, in one line; None if the installed fonts have all their characters."""
    text = "".join(texts)
    missing = sorted(_missing(text, font_families(text)))
    if not missing:
        return None
    some = " ".join(missing[:_MAX_SHOWN]) + (" …" if len(missing) > _MAX_SHOWN else "")
    name, package = ("Noto Sans CJK", "fonts-noto-cjk") if language_code(missing) else ("Noto Sans", "fonts-noto-core")
    return (
        f"no installed font has {some}, so boxes are drawn instead; install {name} "
        f"(Debian and Ubuntu: sudo apt-get install {package}; others: fonts.google.com/noto)"
    )


@lru_cache
def _installed() -> frozenset[str]:
    from matplotlib import font_manager

    # Matplotlib keeps its list of fonts in a file, which lacks those that were installed later.
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with suppress(OSError, RuntimeError):  # no font that Matplotlib can read
                font_manager.fontManager.addfont(path)
    return frozenset(font_manager.fontManager.get_font_names())


@lru_cache
def _letters(family: str) -> frozenset[str]:
    """The characters that a family has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(font_manager.findfont(family)).get_charmap()))


def _missing(text: str, families: Iterable[str]) -> set[str]:
    missing = {letter for letter in text if letter.isprintable() and letter != " "}
    for family in families:
        if missing:
            missing -= _letters(family)
    return missing


def has_kana(text: str) -> bool:
    """Whether a text contains hiragana or katakana, which only Japanese has."""
    return any("\u3041" <= letter <= "\u30ff" or "\uff66" <= letter <= "\uff9d" for letter in text)


def language_code(texts: Iterable[str]) -> str | None:
    """The code of the language, such as "ja", whose shapes of Chinese characters a browser should use for these texts;
    None if they contain no such characters."""
    text = "".join(texts)
    if has_kana(text):
        return "ja"
    if any("\uac00" <= letter <= "\ud7a3" for letter in text):
        return "ko"
    return "zh" if any("\u3400" <= letter <= "\u9fff" for letter in text) else None
