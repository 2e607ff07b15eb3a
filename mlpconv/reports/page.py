"""Templates of self-contained HTML pages: one file each, which loads nothing and runs no script."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpconv.drawing.charts import STYLES, Chart, LineStyle
from mlpconv.drawing.svg import legal
from mlpconv.drawing.svg_chart import chart_svg, key_svg, line_css
from mlpconv.formatting import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

Size = tuple[int, int]
"""(width, height) in pixels."""


def render(template: str, **values: Any) -> str:
    """Render a template of this package. Values are escaped unless they are Markup."""
    return environment(Path(__file__).parent).get_template(template).render(**values)


@cache
def environment(directory: Path) -> "Environment":
    """The Jinja environment for the templates of a directory: everything is escaped, unknown names are errors."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=FileSystemLoader(directory),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_legal,
    )
    templates.filters |= {
        "count": format_count,
        "duration": format_duration,
        "bytes": format_bytes,
        "integer": lambda value: f"{value:,}",
        "percent": lambda value: f"{value:.1%}",
        "three": lambda value: "–" if value is None else f"{value:.3f}",
    }
    templates.globals |= {"chart": chart_html, "key": _key, "line_css": Markup(line_css(STYLES))}
    return templates


def chart_html(chart: Chart, wide: Size, narrow: Size) -> "Markup":
    """A chart in two sizes, of which the style sheet shows one: text in a scaled chart would be too small to read.

    Args:
        chart: The chart.
        wide: The size on a wide page.
        narrow: The size on a narrow page.
    """
    from markupsafe import Markup

    sizes = {"wide": wide, "narrow": narrow}
    return Markup("\n".join(f'<div class="{name}">{chart_svg(chart, *size)}</div>' for name, size in sizes.items()))


def _key(style: LineStyle) -> "Markup":
    from markupsafe import Markup

    return Markup(key_svg(style))


def _legal(value: Any) -> Any:
    # Markup is a string too, but mlpconv made it, of legal text.
    return value if hasattr(value, "__html__") else legal(str(value))
