"""Rendering of displays: the macros of displays.html.j2 as HTML that a notebook shows."""

from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from mlpconv.reports.page import environment


class Html(Markup):
    """Well-formed HTML, which a notebook shows as such. Any other text is escaped where it is put into a page."""

    def __repr__(self) -> str:
        return f"<HTML of {len(self):,} characters>"

    def _repr_html_(self) -> str:
        return str(self)


class Column(NamedTuple):
    """The head of a column of a table."""

    title: str
    right: bool = False
    """Whether the cells are aligned to the right."""


class Picture(NamedTuple):
    """An image in a page."""

    uri: str
    alt: str
    """The text for screen readers."""
    width: int
    """In pixels."""


def render(macro: str, **values: Any) -> Html:
    """Render a macro of displays.html.j2. Values are escaped unless they are Markup."""
    template = environment(Path(__file__).parent).get_template("displays.html.j2")
    return Html(getattr(template.module, macro)(**values))


def bar(share: float) -> Html:
    """A bar for a share from 0 to 1."""
    return render("bar", share=min(max(share, 0.0), 1.0))
