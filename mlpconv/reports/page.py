"""Pages that stand alone: one HTML file each, with nothing to fetch and nothing to run."""

import base64
import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpconv.backends.base import Images
from mlpconv.drawing.fonts import has_kana
from mlpconv.drawing.svg import legal

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """A template of this room with its values, which are escaped unless they are Markup."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from mlpconv.formatting import format_bytes, format_count, format_duration

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_legal,
    )
    environment.filters |= {
        "amount": format_count,
        "duration": format_duration,
        "size": format_bytes,
        "whole": lambda value: f"{value:,}",
        "three": lambda value: "–" if value is None else f"{value:.3f}",
    }
    return environment


def _legal(value: Any) -> Any:
    # Markup, which is a str too, was made by us of legal text.
    return value if hasattr(value, "__html__") else legal(str(value))


def picture(image: Images) -> str:
    """One image, uint8 (H, W, C), as the data URI of a PNG."""
    from PIL import Image

    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def language(texts: Iterable[str]) -> str | None:
    """The language by which a browser is to choose the shapes of Chinese characters; None where there are none."""
    text = "".join(texts)
    if has_kana(text):
        return "ja"
    if any("\uac00" <= letter <= "\ud7a3" for letter in text):
        return "ko"
    return "zh" if any("\u3400" <= letter <= "\u9fff" for letter in text) else None
