"""A few pieces of HTML. Every text is escaped; what is HTML already says so by its type."""

from collections.abc import Sequence
from typing import NamedTuple

from mlpconv.drawing.svg import escape


class Html(str):
    """Well-formed HTML, which a notebook shows as such; any other text is escaped where it is put into a page."""

    def __repr__(self) -> str:
        return f"<HTML of {len(self):,} characters>"

    def _repr_html_(self) -> str:
        return str(self)


class Column(NamedTuple):
    """The head of a table's column. number: its cells are aligned to the right."""

    title: str
    number: bool = False


# Bound to our own outputs. Nearly no colours, so that it suits the notebook's own theme, light or dark.
_STYLE = (
    ".mlpconv table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4em 0}"
    ".mlpconv th,.mlpconv td{padding:.15em .8em .15em 0;text-align:left;vertical-align:middle;font-weight:normal}"
    ".mlpconv thead th{font-weight:600;border-bottom:1px solid #8888}"
    ".mlpconv .number{text-align:right}"
    ".mlpconv .total td,.mlpconv .total th{font-weight:600;border-top:1px solid #8888}"
    ".mlpconv p{margin:.4em 0}.mlpconv summary{cursor:pointer;margin:.4em 0}"
    ".mlpconv{overflow-x:auto}"
    ".mlpconv img{image-rendering:pixelated;vertical-align:middle}"
    ".mlpconv .bar{display:inline-block;height:.7em;background:#4479ba}"
    ".mlpconv .cards{display:flex;flex-wrap:wrap;gap:.8em}"
    ".mlpconv figure{margin:0;width:9em}.mlpconv figcaption{font-size:.9em;line-height:1.35}"
)


def page(*parts: str) -> Html:
    """The parts below each other, in one box of our own style."""
    return Html(f'<div class="mlpconv"><style>{_STYLE}</style>{"".join(map(safe, parts))}</div>')


def safe(text: str) -> Html:
    """The text as HTML: escaped, unless it is HTML already."""
    return text if isinstance(text, Html) else Html(escape(text))


def element(name: str, *parts: str, **attributes: str) -> Html:
    """``<name attribute="…">parts</name>``; an underscore at the end of an attribute's name is dropped (``class_``)."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{''.join(map(safe, parts))}</{name}>")


def details(summary: str, *parts: str) -> Html:
    """Parts that a click opens."""
    return element("details", element("summary", summary), *parts)


def image(uri: str, alt: str, width: int) -> Html:
    """A picture ``width`` pixels wide. alt: what a screen reader says."""
    return Html(f'<img src="{escape(uri)}" alt="{escape(alt)}" width="{width}"/>')


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, total: bool = False) -> Html:
    """A table whose rows begin with their heading. total: the last row is a sum, and set apart."""
    head = [element("th", column.title, scope="col", class_=_class(column)) for column in columns]
    lines = []
    for index, row in enumerate(rows):
        first, *rest = row
        heading = element("th", first, scope="row", class_=_class(columns[0]))
        cells = [element("td", cell, class_=_class(column)) for cell, column in zip(rest, columns[1:], strict=True)]
        last = total and index == len(rows) - 1
        lines.append(element("tr", heading, *cells, class_="total" if last else "row"))
    top = [element("thead", element("tr", *head))] if any(column.title for column in columns) else []
    return element("table", *top, element("tbody", *lines))


def bar(share: float) -> Html:
    """A bar of 0 to 1, at most six letters wide."""
    return element("span", class_="bar", style=f"width:{6 * min(max(share, 0.0), 1.0):.2f}em")


def _class(column: Column) -> str:
    return "number" if column.number else "text"
