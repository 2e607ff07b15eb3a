"""The SVG shapes of network diagrams, which need no script and no other file and have a light and a dark look."""

import html
import re
import unicodedata

FONT_SIZE = {"title": 20, "head": 15, "total": 13, "label": 13, "note": 12, "name": 12}
"""Font sizes in pixels, by the class of the text."""

_LIGHT = {
    "paper": ("#ffffff", "none"),
    "block": ("#f5f7fa", "#c5cedb"),
    "unit": ("#dceafb", "#4479ba"),
    "conv": ("#dceafb", "#4479ba"),
    "mlp": ("#eae3fb", "#7a5fc0"),
    "pool": ("#d9f1e4", "#358f61"),
    "dense": ("#fde8d5", "#c27022"),
    "other": ("#edf0f4", "#8691a0"),
    "ink": "#1a1f26",
    "muted": "#566070",
    "line": "#7d8898",
    "zoom": "#aab4c2",
}
_DARK = {
    "paper": ("#14181d", "none"),
    "block": ("#1b2128", "#3b4654"),
    "unit": ("#1c3654", "#6aa0e4"),
    "conv": ("#1c3654", "#6aa0e4"),
    "mlp": ("#332954", "#a28af0"),
    "pool": ("#173b2b", "#58bb89"),
    "dense": ("#4b3016", "#e29c56"),
    "other": ("#272e37", "#77838f"),
    "ink": "#e9eef4",
    "muted": "#a0abb9",
    "line": "#8894a3",
    "zoom": "#566272",
}
_FONTS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, "PingFang SC", '
    '"Hiragino Sans", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans CJK JP", sans-serif'
)
# Not allowed in XML 1.0, even escaped; the surrogates among them not in UTF-8 either.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """Replace what XML and HTML do not allow (control characters, surrogates) by �."""
    return _ILLEGAL.sub("\ufffd", text)


def escape(text: str) -> str:
    """Escape a text for XML and HTML."""
    return html.escape(legal(text))


def text_width(text: str, kind: str = "label") -> float:
    """An upper estimate of the width of a text in pixels, for any system font."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return FONT_SIZE[kind] * (wide + 0.6 * (len(text) - wide))


def shorten(text: str, max_width: float, kind: str = "label") -> str:
    """The text, cut and with an ellipsis if it is wider than ``max_width`` pixels."""
    if text_width(text, kind) <= max_width:
        return text
    text = text[: int(max_width)]  # no letter is narrower than a pixel
    while text and text_width(text + "…", kind) > max_width:
        text = text[:-1]
    return text + "…"


class Canvas:
    """Shapes to draw; ``document`` returns them as one self-contained SVG. Coordinates are pixels from the top left."""

    def __init__(self) -> None:
        self._shapes: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, kind: str, radius: float = 6) -> None:
        """Add a rounded rectangle.

        kind determines the color: block, unit (a block in one line), conv, mlp, pool, dense or other.
        """
        self._shapes.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str = "label", anchor: str = "start", hint: str = "") -> None:
        """Add a line of text, vertically centered at y. hint: the tooltip."""
        title = f"<title>{escape(hint)}</title>" if hint and hint != text else ""
        self._shapes.append(
            f'<text class="{kind}" x="{x:g}" y="{y + 0.36 * FONT_SIZE[kind]:g}" text-anchor="{anchor}">'
            f"{title}{escape(text)}</text>"
        )

    def arrow(self, x: float, top: float, bottom: float) -> None:
        """Add an arrow that points down."""
        self._shapes.append(f'<path class="line" d="M{x:g} {top:g}V{bottom - 4:g}"/>')
        self._shapes.append(f'<path class="head-of-line" d="M{x - 3.5:g} {bottom - 6:g}h7l-3.5 6z"/>')

    def zoom(self, x: float, edges: tuple[float, float], far_x: float, far_edges: tuple[float, float]) -> None:
        """Add two dashed lines from the right edge of a box to the left edge of its enlarged copy."""
        for near, far in zip(edges, far_edges, strict=True):
            self._shapes.append(f'<path class="zoom" d="M{x:g} {near:g}L{far_x:g} {far:g}"/>')

    def document(self, width: float, height: float, title: str, description: str) -> str:
        """The SVG of width × height pixels. title, description: for screen readers."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="mlpconv-diagram" role="img" width="{width:g}" '
                f'height="{height:g}" viewBox="0 0 {width:g} {height:g}">',
                f"<title>{escape(title)}</title>",
                f"<desc>{escape(description)}</desc>",
                f"<style>{_style()}</style>",
                f'<rect class="paper" width="{width:g}" height="{height:g}"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )


def _style() -> str:
    sizes = [f"{_IN}.{kind}{{font-size:{size}px}}" for kind, size in FONT_SIZE.items()]
    return "".join(
        [
            f"{_IN}text{{font-family:{_FONTS};font-variant-numeric:tabular-nums}}",
            *sizes,
            f"{_IN}.unit{{stroke-width:2}}",
            f"{_IN}.title,{_IN}.head{{font-weight:600}}",
            f"{_IN}.line,{_IN}.zoom{{fill:none;stroke-width:1.25}}{_IN}.zoom{{stroke-dasharray:4 3}}",
            _colors(_LIGHT),
            f"@media(prefers-color-scheme:dark){{{_colors(_DARK)}}}",
        ]
    )


# Every rule applies to diagrams only, since a page may contain the SVG inline.
_IN = ".mlpconv-diagram "


def _colors(palette: dict[str, str | tuple[str, str]]) -> str:
    boxes = [
        f"{_IN}.{kind}{{fill:{color[0]};stroke:{color[1]}}}"
        for kind, color in palette.items()
        if isinstance(color, tuple)
    ]
    return "".join(
        [
            *boxes,
            f"{_IN}text{{fill:{palette['ink']}}}",
            f"{_IN}.note,{_IN}.name,{_IN}.total{{fill:{palette['muted']}}}",
            f"{_IN}.line{{stroke:{palette['line']}}}{_IN}.head-of-line{{fill:{palette['line']}}}",
            f"{_IN}.zoom{{stroke:{palette['zoom']}}}",
        ]
    )
