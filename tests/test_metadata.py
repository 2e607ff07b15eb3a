"""The version is defined once in the code; the files that repeat it agree."""

from pathlib import Path

import mlpconv

ROOT = Path(__file__).parent.parent


def test_the_citation_names_the_version():
    assert f"\nversion: {mlpconv.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_changelog_has_the_version():
    assert f"\n## [{mlpconv.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
