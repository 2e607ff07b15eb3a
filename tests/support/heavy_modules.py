"""Modules that take long to import; most of the program must not import them."""

import tomllib
from pathlib import Path

_TOOLS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
FRAMEWORKS = {
    module for contract in _TOOLS["importlinter"]["contracts"] for module in contract.get("forbidden_modules", ())
}
"""The modules of the frameworks, which import-linter forbids outside of the back ends."""

HEAVY = FRAMEWORKS | {"PIL", "matplotlib", "pandas", "scipy", "sklearn"}
