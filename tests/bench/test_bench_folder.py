"""`mlpconv bench folder`: what it measures, on a few images."""

import json
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import folder, folder_report
from mlpconv.errors import DataError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "json" / "bench-folder.schema.json").read_text())


@pytest.fixture
def told(monkeypatch, tmp_path):
    """The arguments of each training process, which is not started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []
    speeds = iter([90.0, 100.0, 100.0, 80.0, 100.0, 95.0])  # few, all; few, all; few, all

    def train(path, cache, most, steps, memory_gb):
        seen.append((most, steps, memory_gb))
        return {"images": 10, "images_per_second": next(speeds), "peak_bytes": len(seen)}

    monkeypatch.setattr(folder, "_train", train)
    return seen


def test_the_result_matches_its_schema(told):
    lines = []
    result = folder.measure(None, generate=40, steps=7, rounds=3, memory_gb=1.5, progress=lines.append)
    jsonschema.validate(result, SCHEMA)
    assert (result["images"], result["generated"]) == (40, 40)
    assert result["seconds"] == pytest.approx(result["scan_seconds"] + result["decode_seconds"])
    assert result["speedup"] == pytest.approx(result["cached_per_second"] / result["decoded_per_second"])
    trained = result["training"]
    assert trained["ratios"] == pytest.approx([100 / 90, 0.8, 0.95])
    assert trained["ratio"] == pytest.approx(0.95)
    assert (trained["small"]["images_per_second"], trained["all"]["images_per_second"]) == (100, 95)
    assert (trained["small"]["peak_bytes"], trained["all"]["peak_bytes"]) == (5, 6)
    assert told == [(folder.SMALL, 7, 1.5), (0, 7, 1.5)] * 3
    assert len(lines) == 5
    assert [gate["passed"] for gate in result["gates"]] == [
        result["images"] / result["seconds"] >= 2400,
        result["speedup"] >= 100,
        True,
        True,
    ]
    assert [gate["value"] for gate in result["gates"][2:]] == [trained["ratio"], 6e-9]
    page = folder_report.markdown(result)
    for line in (*folder_report.lines(result), *folder_report.gates(result)):
        assert line in page
    slow = {**result["gates"][2], "value": 0.89, "passed": False}
    assert folder_report.gates({"gates": [slow]})[0].startswith("FAIL  training on all images")


def test_generated_images_are_reused_and_other_folders_left_unchanged(told, tmp_path):
    lines = []
    folder.make_images(tmp_path / "made", 30, lines.append)
    before = {path: path.read_bytes() for path in (tmp_path / "made").glob("*/*.jpg")}
    folder.make_images(tmp_path / "made", 40, lines.append)
    assert lines == ["generated 30 images, 0 existed already", "generated 10 images, 30 existed already"]
    after = {path: path.read_bytes() for path in (tmp_path / "made").glob("*/*.jpg")}
    assert len(after) == 40
    assert before.items() <= after.items()
    assert len(set(after.values())) == 40
    result = folder.measure(tmp_path / "made", generate=None, steps=7, rounds=1, memory_gb=2, progress=lines.append)
    assert (result["images"], result["generated"]) == (40, 0)
    (tmp_path / "made" / "cat").mkdir()
    with pytest.raises(DataError, match="made: holds cat, so no images are generated there"):
        folder.make_images(tmp_path / "made", 40, lines.append)
