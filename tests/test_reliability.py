"""Every guarantee in docs/reliability.md names tests that exist, and every test of a fault belongs to a guarantee."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASES = [*range(1, 15), *range(18, 35)]


def test_every_guarantee_names_its_tests_and_every_test_has_a_guarantee():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!guarantee|---)(.+) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) > 20
    named = set()
    for guarantee, tests in rows:
        found = re.findall(r"`(test_\w+)`", tests)
        assert found, guarantee
        named.update(found)
    files = (ROOT / "tests" / "faults").glob("test_*.py")
    existing = {
        name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert named == existing
    assert sorted({int(name[5:7]) for name in existing if name[5:7].isdigit()}) == CASES
