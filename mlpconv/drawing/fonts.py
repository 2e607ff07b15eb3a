"""Fonts for class names in any script."""

# Class names may be in any script; Matplotlib takes each character from the first family that has it.
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
    """The installed families in which Matplotlib is to look for a character, one after the other.

    Chinese and Japanese write the same character in different ways: a text with kana in it is Japanese.
    """
    from matplotlib import font_manager

    # Naming a family that is not installed draws a warning for every text.
    installed = set(font_manager.fontManager.get_font_names())
    found = [family for family in _FAMILIES if family in installed]
    return sorted(found, key=lambda family: family not in _JAPANESE) if has_kana(text) else found


def has_kana(text: str) -> bool:
    """Whether a text holds hiragana or katakana, which only Japanese has."""
    return any("\u3041" <= letter <= "\u30ff" or "\uff66" <= letter <= "\uff9d" for letter in text)
