"""Fonts and languages for class names in any script."""

from collections.abc import Iterable

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


def font_families(text: str = "") -> list[str]:
    """The installed font families for Matplotlib to draw a text with, in order of preference.

    Some characters have different shapes in Chinese and Japanese: a text that contains kana is drawn as Japanese.
    """
    from matplotlib import font_manager

    # Matplotlib logs a warning for every text with a family that is not installed.
    installed = set(font_manager.fontManager.get_font_names())
    families = [family for family in _FAMILIES if family in installed]
    return sorted(families, key=lambda family: family not in _JAPANESE) if has_kana(text) else families


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
