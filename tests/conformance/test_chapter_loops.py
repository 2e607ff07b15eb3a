"""The code of each edition, trained in its own loop: the same steps as ours, and weights in both directions."""

from contextlib import contextmanager

import numpy as np
import pytest

from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import block_shapes
from mlpconv.backends.base import StepPlan
from mlpconv.convert import read_weights, write_weights
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer
from support import conformance_cases
from support.chapter_editions import EDITIONS, D2lzhPyTorch, MxnetNumpy
from support.native_objects import call_native

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own, in saving.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer"),  # A file of ours has no optimizer.
]

BATCH, STEPS = 4, 3
NETWORK = create_model("nin")
RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (BATCH * STEPS, 224, 224, 1), dtype=np.uint8)
LABELS = np.arange(BATCH * STEPS) % 10


@contextmanager
def started(edition_type):
    """An edition with what it sets for its whole process, which is undone."""
    if edition_type is not MxnetNumpy:
        yield edition_type()
        return
    from mxnet import npx

    npx.set_np()
    try:
        yield edition_type()
    finally:
        npx.reset_np()


def each_edition(backend_name):
    if not EDITIONS[backend_name]:
        pytest.skip(f"no edition of the chapter uses {backend_name}")
    return EDITIONS[backend_name]


def as_floats(images):
    """Images as the chapter's loops receive them, float32 (B, 1, H, W) in 0..1."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255


def assert_close(found, expected, tolerance=1e-5):
    assert expected.std() > 0, "logits without differences show nothing"
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_an_edition_trains_in_the_steps_that_we_train_in(backend, backend_name, tmp_path):
    for edition_type in each_edition(backend_name):
        with started(edition_type) as edition:
            edition.save(tmp_path / edition.file)
            weights = read_weights(NETWORK, tmp_path / edition.file)
            adam = edition_type is D2lzhPyTorch
            network = conformance_cases.without_dropout(NETWORK)
            model = backend.build(
                network, Preprocess.of_channels(224, 1), optimizer=Optimizer("adam" if adam else "sgd")
            )
            model.load_weights(weights)
            model.attach(IMAGES, LABELS)
            for start in range(0, len(IMAGES), BATCH):
                indices = np.arange(start, start + BATCH)
                expected = edition.train_step(as_floats(IMAGES[indices]), LABELS[indices])
                model.train_step(StepPlan(indices, 224, 0.002 if adam else 0.1, 0))
                assert model.read_metrics(reset=True).loss / BATCH == pytest.approx(expected, abs=1e-3)
            edition.save(tmp_path / edition.file)
        ours, theirs = model.weights(), read_weights(NETWORK, tmp_path / edition.file)
        for name, before in weights.items():
            change = theirs[name] - before
            assert np.linalg.norm(change) > 0
            # Rounding decides some ReLUs near zero, and the last bits of weights that change little.
            tolerance = 0.1 * np.linalg.norm(change) + 1e-6 * np.linalg.norm(before)
            assert np.linalg.norm(ours[name] - theirs[name]) < tolerance, (edition_type, name)


def test_weights_move_between_an_edition_and_our_network(backend, backend_name, tmp_path):
    x = as_floats(IMAGES[:2])
    for edition_type in each_edition(backend_name):
        with started(edition_type) as edition:
            edition.train_step(as_floats(IMAGES[:BATCH]), LABELS[:BATCH])
            edition.save(tmp_path / edition.file)
            expected = edition.logits(x)
        weights = read_weights(NETWORK, tmp_path / edition.file)
        assert_close(call_native(backend.native(NETWORK, weights), backend_name, x), expected)
        changed = {name: value * np.float32(1.25) for name, value in weights.items()}
        write_weights(tmp_path / f"ours-{edition.file}", NETWORK, changed, names="chapter")
        expected = call_native(backend.native(NETWORK, changed), backend_name, x)
        with started(edition_type) as edition:
            edition.load(tmp_path / f"ours-{edition.file}")
            assert_close(edition.logits(x), expected)


def test_the_editions_loop_goes_through_our_network(backend, backend_name):
    network = create_model("nin_28")
    native = network.build(backend_name)
    x = np.zeros((1, *network.input_shape), np.float32)
    match backend_name:
        case "torch":
            import torch

            x = torch.from_numpy(x)
            named = list(native.named_children())
        case "mxnet":
            import mxnet as mx

            x = mx.nd.array(x)
            native.initialize()
            named = [(layer.name, layer) for layer in native]
        case "tensorflow" | "jax":
            x = x.transpose(0, 2, 3, 1)
            named = [(layer.name, layer) for layer in native.layers]
            assert {type(layer).__name__ for name, layer in named if name.startswith("block")} == {"Sequential"}
        case _:
            pytest.skip(f"no edition of the chapter uses {backend_name}")
    found = []
    for name, layer in named:
        x = layer(x)
        shape = tuple(x.shape[1:])
        if backend_name in ("tensorflow", "jax") and len(shape) == 3:
            shape = (shape[2], *shape[:2])
        found.append((name, shape))
    # A layer that only Keras needs has a hyphen in its name.
    assert [row for row in found if "-" not in row[0]] == [(name, shape) for name, _, shape in block_shapes(network)]
