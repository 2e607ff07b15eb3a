"""PyTorch against the NumPy reference: the forward pass, devices and precisions, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings

from mlpconv import hardware
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import reference
from mlpconv.backends.registry import BACKENDS, get_backend
from mlpconv.backends.weights import INITIALIZERS, initialize, is_statistic, weight_shapes
from mlpconv.errors import MlpconvError, PrecisionError, RecipeError, WeightsError
from mlpconv.models import create_model, list_models
from mlpconv.optimizers import Optimizer
from support.precision import needs_bfloat16
from support.strategies import networks
from support.torch_training_steps import (
    COLOR_PREPROCESS,
    FOLDED,
    IMAGES,
    LABELS,
    PLAIN,
    assert_equal_tensors,
    backend,
    build_model,
    every_device,
    make_plan,
    torch,
)

# The forward pass


def close(network, batch=2):
    weights = initialize(network, INITIALIZERS["xavier"], 5)
    draw = np.random.default_rng(6)
    for name in filter(is_statistic, weights):
        weights[name] = draw.uniform(0.5, 2, weights[name].shape).astype(np.float32)
    x = draw.normal(size=(batch, *network.input_shape)).astype(np.float32)
    before = x.copy()
    module = backend.native(network, weights).eval()
    with torch.inference_mode():
        found = module(torch.from_numpy(x)).numpy()
    expected = reference.forward(network, weights, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(x, before)
    assert list(weight_shapes(network)) == [name for name in module.state_dict() if "num_batches" not in name]
    for name, value in module.state_dict().items():
        if name in weights:
            np.testing.assert_array_equal(value.numpy(), weights[name])


# The large ones as small as they can be: it is the same arithmetic.
SIZES = {"nin": 79, "nin_imagenet": 67, "alexnet": 79, "vgg11": 32}


@pytest.mark.parametrize("name", list_models())
def test_registered_networks_agree_with_the_reference(name):
    network = create_model(name)
    size = SIZES.get(name)
    close(network.replace(input_size=size) if size else network)


@settings(max_examples=40)
@given(networks())
def test_any_network_agrees_with_the_reference(network):
    close(network)


def test_native_without_weights_is_initialized_by_pytorch():
    torch.manual_seed(0)
    module = backend.native(create_model("lenet"))
    torch.manual_seed(0)
    first = torch.nn.Conv2d(1, 6, 5, padding=2)
    assert torch.equal(module.conv1.weight, first.weight)
    assert torch.equal(module.conv1.bias, first.bias)


def test_weights_are_loaded_and_returned_as_unchanged_copies():
    model = build_model()
    given = initialize(PLAIN, INITIALIZERS["he"], 11)
    model.load_weights(given)
    taken = model.weights()
    assert_equal_tensors(taken, given)
    taken["block2.conv.weight"][:] = 0
    assert_equal_tensors(model.weights(), given)


def test_weights_of_another_network_are_refused_with_the_difference():
    with pytest.raises(WeightsError, match=r"missing: block1\.norm\.weight"):
        build_model().load_weights(initialize(FOLDED, INITIALIZERS["he"], 0))


@every_device
@pytest.mark.parametrize(
    ("network", "fit", "shape"),
    [
        (PLAIN, "squash", (8, 8)),
        (PLAIN, "squash", (9, 30)),
        (PLAIN, "crop", (9, 7)),
        (PLAIN, "pad", (9, 6)),
        (PLAIN, "pad-border", (9, 6)),
        (PLAIN, "pad-border", (1, 6)),
        (FOLDED, "pad-border", (8, 5)),
        (PLAIN, "squash", (12, 12)),
        (FOLDED, "squash", (8, 16)),
        (FOLDED, "pad", (8, 5)),
        (FOLDED, "crop", (8, 9)),
    ],
)
@pytest.mark.parametrize("antialias", [True, False])
def test_logits_agree_with_the_reference(network, fit, shape, antialias, device):
    preprocess = Preprocess(
        network.input_size[0],
        mode="RGB",
        fit=fit,
        antialias=antialias,
        mean=COLOR_PREPROCESS.mean,
        std=COLOR_PREPROCESS.std,
    )
    model = build_model(network, preprocess=preprocess, device=device)
    images = np.random.default_rng(2).integers(0, 256, (5, *shape, 3), dtype=np.uint8)
    expected = reference.forward(network, model.weights(), reference.preprocess(images, preprocess))
    found = model.logits(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_outputs_are_those_of_the_layer():
    network = create_model("nin_28").replace(input_size=(20, 20))
    model = get_backend("torch").build(network, Preprocess(20, mean=(0.3,), std=(0.5,)))
    weights = initialize(network, INITIALIZERS["he"], 3)
    model.load_weights(weights)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    x = reference.preprocess(images, Preprocess(20, mean=(0.3,), std=(0.5,)))
    for name in ("block1.conv", "block1.norm1", "block2.relu"):
        expected = reference.activations(network, weights, x)[name]
        np.testing.assert_allclose(model.outputs(images, name), expected, rtol=1e-3, atol=1e-4)


def test_logits_do_not_depend_on_the_batch():
    model = build_model(create_model("nin_28", num_classes=5, input_channels=3).replace(input_size=12))
    images = np.random.default_rng(3).integers(0, 256, (260, 8, 8, 3), dtype=np.uint8)  # more than one batch of 256
    whole = model.logits(images)
    assert whole.shape == (260, 5)
    parts = np.concatenate([model.logits(images[:1]), model.logits(images[1:40]), model.logits(images[40:])])
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    assert model.logits(images[:0]).shape == (0, 5)


def test_read_only_and_reversed_images_are_accepted():
    model, images = build_model(), IMAGES.copy()
    images.setflags(write=False)
    expected = build_model().logits(np.ascontiguousarray(IMAGES[:, ::-1]))
    np.testing.assert_array_equal(model.logits(images[:, ::-1]), expected)
    model.attach(images[::-1], LABELS[::-1])
    model.train_step(make_plan())
    assert model.read_metrics().examples == 8


@every_device
def test_bfloat16_stays_near_float32(device):
    network = create_model("nin_28", num_classes=5, input_channels=3).replace(input_size=16)
    exact = build_model(network, device=device).logits(IMAGES)
    rounded = build_model(network, precision="bfloat16", device=device).logits(IMAGES)
    assert 0 < np.abs(rounded - exact).max() < 0.03 * np.abs(exact).max()


# Devices


def test_the_back_end_is_named():
    assert "torch" in BACKENDS
    with pytest.raises(MlpconvError, match="unknown backend 'torhc'; did you mean 'torch'"):
        get_backend("torhc")


def test_device_and_precision_are_those_requested_or_chosen_for_the_machine():
    assert backend.choose("cpu:0", "float32") == ("cpu", "float32")
    assert backend.choose("cpu", None)[1] == ("bfloat16" if hardware.has_bfloat16() else "float32")
    assert backend.choose(None, "float32")[0] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert backend.describe_device("cpu") == f"cpu ({hardware.processor()}, 1 thread)"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", r"unknown device 'gpu'; did you mean 'xpu'\? known: cpu, cuda, mps, xpu"),
        ("meta", "unknown device 'meta'"),
        ("", "unknown device ''"),
        ("cuda:99", "device cuda:99: not usable here: .*; `mlpconv doctor`"),
        ("mps", "device mps: not usable here: .*; `mlpconv doctor`"),
        ("cpu:x", "device cpu:x: not usable here: Invalid device string"),
    ],
)
def test_a_missing_device_is_refused_in_one_line(device, message):
    with pytest.raises(MlpconvError, match=message) as caught:
        backend.choose(device, None)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@needs_bfloat16
def test_bfloat16_is_chosen_on_a_processor_that_supports_it():
    assert backend.choose("cpu", "bfloat16") == ("cpu", "bfloat16")


def test_bfloat16_is_refused_on_a_processor_without_it(monkeypatch):
    monkeypatch.setattr("mlpconv.backends.pytorch.backend.COMPUTES_BFLOAT16", False)
    with pytest.raises(PrecisionError, match=r"precision bfloat16: .*use --precision float32, or leave") as caught:
        backend.choose("cpu", "bfloat16")
    assert hardware.processor() in str(caught.value)


def test_bfloat16_gives_the_same_results_without_instructions_for_it(monkeypatch):
    """PyTorch's own convolutions step in, slower: nothing that is built directly ends in a RuntimeError."""
    network = create_model("nin_28", num_classes=5, input_channels=3).replace(input_size=16)
    here = build_model(network, precision="bfloat16").logits(IMAGES)
    monkeypatch.setattr("mlpconv.backends.pytorch.convolutions.COMPUTES_BFLOAT16", False)
    without = build_model(network, precision="bfloat16")
    np.testing.assert_allclose(without.logits(IMAGES), here, atol=0.02 * np.abs(here).max())


def test_an_unknown_precision_is_refused():
    with pytest.raises(RecipeError, match="unknown precision 'float16'; did you mean"):
        backend.choose("cpu", "float16")


def test_a_model_without_an_optimizer_cannot_train():
    model = backend.build(PLAIN, COLOR_PREPROCESS)
    assert model.logits(IMAGES).shape == (40, 5)
    with pytest.raises(AssertionError, match="without an optimizer"):
        model.train_step(make_plan())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"optimizer\.momentum must be at least 0 and below 1, not 1\.0"),
        ({"weight_decay": -1e-3}, "weight_decay must be at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0"),
        ({"eps": 0.0}, "eps above 0"),
        ({"name": "sgd", "ns_steps": 3}, "sgd has no ns_steps, .*; for ns_steps use muon"),
        ({"name": "muon", "ns_steps": 0}, "optimizer.ns_steps must be at least 1, not 0"),
        ({"name": "adam", "momentum": 0.9}, "adam has no momentum, only beta1, beta2, eps; for momentum use sgd"),
        ({"nesterov": True}, "nesterov needs a momentum"),
        ({"name": "adam", "weight_decay": 0.1}, "adam has no weight_decay, .*; for weight_decay use sgd or adamw"),
    ],
)
def test_an_invalid_optimizer_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        Optimizer(**options)
