"""`mlpconv bench scale`: exponents of power laws, and a whole measurement with small sizes."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.bench import scale
from mlpconv.drawing.plots import png

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/json/bench-scale.schema.json").read_text())


@given(st.floats(-3, 3), st.floats(1e-3, 1e3))
def test_the_exponent_of_a_power_law(power, factor):
    points = [(value, factor * value**power) for value in (10.0, 30.0, 100.0)]
    assert scale.exponent(points) == pytest.approx(power, abs=1e-6)


def test_a_measurement_with_small_sizes(monkeypatch):
    for package in ("torch", "sklearn"):
        pytest.importorskip(package)
    few = {"images": (600, 1200), "image_size": (70, 99), "batch_size": (128, 256), "classes": (10, 20)}
    monkeypatch.setattr(scale, "GROWTH", few)
    monkeypatch.setattr(scale, "STANDARD", scale.STANDARD | {"images": 600})
    lines = []
    settings = scale.Settings(processes=(1, 2), rounds=1, threads=2, data="digits", image_size=70)
    result = json.loads(json.dumps(scale.measure(settings, lines.append)))
    result["command"] = result["command"] or "test"
    jsonschema.validate(result, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [each["threads_per_process"] for each in result["processes"]] == [2, 1]
    assert result["processes"][0]["to_first"] == 1
    one, two = (each["images_per_second"] for each in result["processes"])
    assert result["processes"][1]["to_first"] == pytest.approx(two / one)
    by_quantity = {each["quantity"]: each for each in result["growth"]}
    for each in by_quantity.values():
        for key, power in each["exponents"].items():
            assert power == pytest.approx(scale.exponent([(point["value"], point[key]) for point in each["points"]]))
    # With more images, a step takes the same memory.
    assert by_quantity["images"]["exponents"]["tensor_bytes"] == pytest.approx(0, abs=1e-9)
    assert by_quantity["batch_size"]["exponents"]["tensor_bytes"] > 0.3
    assert len(lines) == 2 + 8
    page = scale.markdown(result)
    for row in (*scale.process_rows(result), *scale.growth_rows(result)):
        assert " | ".join(row) in page
    assert png(scale.figure(result)).startswith(b"\x89PNG")
