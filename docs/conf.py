"""The documentation site: ``make docs`` builds it into docs/_build/html."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "tools"), str(HERE.parent)]

from languages import TRANSLATIONS  # noqa: E402

from mlpconv.version import __version__  # noqa: E402

project = "mlpconv"
author = "The mlpconv authors"
copyright = "The mlpconv authors, Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build", "json"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 3

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # the signature has the types
# "Returns: shape: text" is one paragraph.
napoleon_use_rtype = False
# In docstrings `name` is code, as in Markdown.
default_role = "code"
# Text about commands needs straight quotes and plain hyphens.
smartquotes = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"mlpconv {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
# System fonts and no third-party hosts: the site works from a disk, without a network.
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5a8a", "color-brand-content": "#0b5a8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0"},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def set_language(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Set ``<html lang>`` of a translated page, such as ``exercises/index.zh``: it decides fonts and pronunciation."""
    codes = {each.code for each in TRANSLATIONS}
    if (code := page.rpartition(".")[2]) in codes:
        context["language"] = code


def set_level(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the captions of the navigation, which have the role of a heading, the level that the role requires."""
    navigation = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = navigation.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app: Any) -> None:
    app.connect("html-page-context", set_language)
    app.connect("html-page-context", set_level, priority=900)  # after furo, which has 500
