"""The start weights that come with the package."""

import json
import zlib

import numpy as np
import pytest

from mlpconv.models import create_model, list_models, shipped_weights
from mlpconv.runs.classifier_file import read_classifier
from mlpconv.runs.files import read_tensors

SHIPPED = [name for name in list_models() if shipped_weights(name)]


def test_the_network_for_photographs_has_start_weights():
    assert "nin_photo" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_the_weights_are_small_finite_and_those_of_the_network(name):
    path = shipped_weights(name)
    assert len(zlib.compress(path.read_bytes())) <= 3e6  # as a wheel holds it
    tensors, _ = read_tensors(path)
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float16)}
    stored = read_classifier(path, float16=True)
    assert {value.dtype for value in stored.weights.values()} == {np.dtype(np.float32)}
    assert stored.network.replace(name="") == create_model(name, 1).replace(name="")
    # A normalization whose variance underflowed would make its channel explode.
    for part, value in stored.weights.items():
        assert np.isfinite(value).all(), part
        assert not part.endswith("running_var") or value.min() > 0, part


@pytest.mark.parametrize("name", SHIPPED)
def test_where_they_come_from_is_recorded_beside_them(name):
    record = json.loads(shipped_weights(name).with_suffix(".json").read_text())
    assert record["model"] == name
    assert {"teacher", "packages", "sha256", "license", "changes", "command", "date", "versions"} <= record.keys()


def test_a_run_of_that_name_counts_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_weights("nin_photo") is not None
    assert shipped_weights("nin_28") is None
    assert shipped_weights("../start/nin_photo") is None
    (tmp_path / "nin_photo").mkdir()
    assert shipped_weights("nin_photo") is None
