"""`mlpconv bench folder`: what it measures, on a few images."""

import json
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import folder

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "json" / "bench-folder.schema.json").read_text())


@pytest.fixture
def told(monkeypatch, tmp_path):
    """What each training's process is told; it is not started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []

    def train(path, cache, most, steps, memory_gb):
        seen.append((most, steps, memory_gb))
        return {"images": 10, "images_per_second": 90.0 if most else 100.0, "peak_bytes": None}

    monkeypatch.setattr(folder, "_train", train)
    return seen


def test_the_result_is_as_its_schema_says(told):
    lines = []
    result = folder.measure(None, generate=40, steps=7, memory_gb=1.5, progress=lines.append)
    jsonschema.validate(result, SCHEMA)
    assert (result["images"], result["generated"]) == (40, 40)
    assert result["seconds"] == pytest.approx(result["scan_seconds"] + result["decode_seconds"])
    assert result["speedup"] == pytest.approx(result["cached_per_second"] / result["decoded_per_second"])
    assert result["training"]["ratio"] == pytest.approx(100 / 90)
    assert told == [(folder.SMALL, 7, 1.5), (0, 7, 1.5)]
    assert len(lines) == 3
