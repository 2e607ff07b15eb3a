"""What is particular to Keras; tests/conformance compares it with the NumPy reference and with PyTorch.

It runs where Keras and its engine are installed, on the engine that KERAS_BACKEND names (TensorFlow by default).
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from mlpconv import hardware
from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import reference
from mlpconv.backends.base import StepPlan
from mlpconv.backends.keras.backend import KerasBackend
from mlpconv.backends.registry import get_backend
from mlpconv.backends.weights import Initializer, initialize
from mlpconv.errors import MissingDependency, MlpconvError, PrecisionError, RecipeError
from mlpconv.optimizers import Optimizer
from mlpconv.training.guard import dead_classes
from mlpconv.training.reopen import reopen
from support.keras_engine import ENGINE, needs_keras


def test_a_missing_engine_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        MissingDependency, match=r"'tensorflow' is not installed; pip install \"mlpconv\[tensorflow\]\""
    ):
        get_backend("tensorflow")


def test_deterministic_jax_on_a_gpu_needs_an_environment_variable(monkeypatch: pytest.MonkeyPatch):
    jax = KerasBackend("jax")
    monkeypatch.setenv("XLA_FLAGS", "--other")
    jax.set_deterministic("cpu")
    with pytest.raises(MlpconvError, match="JAX on gpu:0 needs XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        jax.set_deterministic("gpu:0")
    monkeypatch.setenv("XLA_FLAGS", "--other --xla_gpu_deterministic_ops=true")
    jax.set_deterministic("gpu:0")


@needs_keras
def test_a_process_uses_one_engine(backend):
    other = "jax" if ENGINE == "tensorflow" else "tensorflow"
    with pytest.raises(MlpconvError, match=f"already runs on {ENGINE}.*KERAS_BACKEND={other}"):
        get_backend(other)


@needs_keras
def test_nothing_is_written_to_standard_error_on_import():
    code = f"from mlpconv.backends.registry import get_backend; get_backend({ENGINE!r})"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@needs_keras
def test_bfloat16_is_refused_only_where_it_cannot_be_computed(backend, monkeypatch):
    monkeypatch.setattr(hardware, "has_bfloat16_convolutions", lambda: True)
    assert backend.choose("cpu", "bfloat16") == ("cpu", "bfloat16")
    monkeypatch.setattr(hardware, "has_bfloat16_convolutions", lambda: False)
    if ENGINE == "jax":
        assert backend.choose("cpu", "bfloat16") == ("cpu", "bfloat16")
        return
    with pytest.raises(PrecisionError, match=r"precision bfloat16: .*use --precision float32"):
        backend.choose("cpu", "bfloat16")


@needs_keras
def test_devices(backend):
    fast = ENGINE == "tensorflow" and hardware.has_bfloat16()
    assert backend.choose("cpu", None) == ("cpu", "bfloat16" if fast else "float32")
    assert backend.choose("cpu:0", "float32") == ("cpu", "float32")
    assert backend.describe_device("cpu").startswith("cpu (")
    with pytest.raises(MlpconvError, match=f"device 'gpu:9': {ENGINE} finds cpu.*choose one of them"):
        backend.choose("gpu:9", None)
    with pytest.raises(RecipeError, match="did you mean 'float32'"):
        backend.choose("cpu", "float23")


NETWORK = Network(
    Block(conv=Conv2d(6, 3, padding=1, bias=False), norm=BatchNorm2d(momentum=0.3), relu=ReLU()),
    MaxPool2d(3, stride=2, padding=1),
    Block(conv=Conv2d(5, 3), relu=ReLU()),
    AvgPool2d(2, ceil_mode=True),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
)
PREPROCESS = Preprocess(10, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3))
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 10, 10, 3), dtype=np.uint8)
LABELS = np.arange(40) % 5


def build_model(backend, network: Network = NETWORK, optimizer: Optimizer | None = None, precision="float32"):
    shape = (3, 10, 10)
    model = backend.build(network, PREPROCESS, optimizer=optimizer or Optimizer(momentum=0.9), precision=precision)
    model.load_weights(initialize(network, Initializer("he"), 3, input_shape=shape))
    model.attach(IMAGES, LABELS)
    return model


OPTIMIZERS = [
    Optimizer(weight_decay=0.1),
    Optimizer(momentum=0.9, weight_decay=0.1),
    Optimizer(momentum=0.9, nesterov=True),
    Optimizer("adam", eps=1e-4),
    Optimizer("adamw", weight_decay=0.5, beta1=0.0, eps=1e-4),
]


@needs_keras
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize(("name", "shape"), [("fc1.weight", (4, 3)), ("fc1.bias", (4,))])
def test_updates_agree_with_the_reference(backend, optimizer: Optimizer, name: str, shape: tuple[int, ...]):
    from mlpconv.backends.keras import step as keras_step

    draw = np.random.default_rng(3)
    p = draw.normal(0, 1, shape).astype(np.float32)
    ours, slots = {name: p}, {name: keras_step.initial_slots(optimizer, shape)}
    theirs, state = {name: p}, reference.OptimizerState()
    for step in range(1, 6):
        g = draw.normal(0, 1, shape).astype(np.float32)
        ours, slots = keras_step.update(optimizer, ours, {name: g}, slots, step, 0.1)
        theirs, state = reference.update(optimizer, theirs, {name: g}, state, 0.1)
    np.testing.assert_allclose(np.asarray(ours[name]), theirs[name], rtol=1e-5, atol=1e-6)


@needs_keras
def test_a_dead_class_is_opened(backend):
    model = build_model(backend)
    weights = model.weights()
    weights["block2.conv.bias"][2] = -100
    model.load_weights(weights)
    assert dead_classes(model.class_maps(IMAGES)) == [2]
    state, _ = reopen(
        model.training_state(), NETWORK, (2,), lambda name: model.outputs(IMAGES, name), np.random.default_rng(0)
    )
    model.load_training_state(state)
    assert dead_classes(model.class_maps(IMAGES)) == []


WITH_DROPOUT = Network(Flatten(), Dropout(0.5), Linear(40), Dropout(0.5), Linear(5), input_channels=3)


@needs_keras
def test_a_linear_layer_fixes_the_image_size(backend):
    with pytest.raises(RecipeError, match=r"image size 12: fc1\.weight would need .*trains at 10 only"):
        build_model(backend, WITH_DROPOUT).train_step(StepPlan(np.arange(4), 12, 0.1, 0))


@needs_keras
@pytest.mark.skipif(
    ENGINE == "tensorflow" and not hardware.has_bfloat16_convolutions(),
    reason="this processor has no convolutions in bfloat16, or ONEDNN_MAX_CPU_ISA hides them",
)
def test_bfloat16_trains_with_weights_in_float32(backend):
    model = build_model(backend, precision="bfloat16")
    exact = reference.forward(NETWORK, model.weights(), reference.preprocess(IMAGES, PREPROCESS))
    np.testing.assert_allclose(model.logits(IMAGES), exact, atol=0.05 * np.abs(exact).max())
    losses = []
    for step in range(30):
        model.train_step(StepPlan(np.arange(40), 10, 0.1, step))
        losses.append(model.read_metrics(reset=True).loss / 40)
    assert losses[-1] < 0.8 * losses[0]
    assert all(value.dtype == np.float32 for value in model.weights().values())
