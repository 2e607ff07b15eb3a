"""PyTorch against the NumPy reference: the forward pass, whole training steps, masked updates, exact resume."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import networks

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU, Sigmoid
from mlpconv.arch.network import Block, Network, Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends import hardware
from mlpconv.backends import numpy as reference
from mlpconv.backends.base import Metrics, Optimizer, StepPlan, get_backend, list_backends
from mlpconv.backends.fold import can_fold
from mlpconv.backends.weights import INITIALIZERS, decays, initialize, is_statistic, weight_shapes
from mlpconv.errors import MlpconvError, RecipeError, WeightsError
from mlpconv.models import create_model, list_models

torch = pytest.importorskip("torch")
F = torch.nn.functional
backend = get_backend("torch")
torch.set_num_threads(1)

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
COLOURS = Preprocess(12, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3))
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 5
PLAIN = Network(
    Block(conv=Conv2d(6, 3, padding=1, bias=False), norm=BatchNorm2d(momentum=0.3), relu=ReLU()),
    MaxPool2d(3, stride=2, padding=1),
    Block(conv=Conv2d(5, 3), relu=ReLU(), mlp1=Conv2d(5, 1)),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=12,
)
FOLDED = Network(
    Block(conv=Conv2d(6, 9, stride=2), relu=ReLU(), mlp1=Conv2d(5, 1)),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=32,
)
DROPPING = Network(
    Block(conv=Conv2d(16, 3, padding=1), norm=BatchNorm2d(), relu=ReLU()),
    Dropout(0.5),
    Block(conv=Conv2d(5, 3)),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=12,
)
OPTIMIZERS = {
    "sgd": Optimizer(weight_decay=0.1),
    "momentum": Optimizer(momentum=0.9, weight_decay=0.1),
    "nesterov": Optimizer(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": Optimizer("adam", eps=1e-4),
    "adamw": Optimizer("adamw", weight_decay=0.5, beta1=0.8, beta2=0.95, eps=1e-4),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_device = pytest.mark.parametrize("device", DEVICES)


def begin(network=PLAIN, optimizer=OPTIMIZERS["momentum"], precision="float32", device="cpu", preprocess=COLOURS):
    model = backend.build(network, preprocess, optimizer=optimizer, precision=precision, device=device)
    model.load_weights(initialize(network, INITIALIZERS["xavier"], 3))
    model.attach(IMAGES, LABELS)
    return model


def make_plan(step=0, size=12, count=8, **fields):
    draw = np.random.default_rng([7, step])
    return StepPlan(draw.integers(0, 40, count), size, 0.05 / (step + 1), dropout_seed=step, **fields)


def full_plan(step=0, size=12, count=8):
    """A plan that tells everything a plan can tell."""
    draw = np.random.default_rng([8, step])
    return make_plan(
        step, size, count,
        flip=draw.random(count) < 0.5,
        shift=draw.integers(-3, 4, (count, 2)),
        erase=np.concatenate([draw.integers(-3, 8, (count, 2)), draw.integers(0, 6, (count, 2))], axis=1),
        partner=draw.permutation(count),
        mix=0.7,
        label_smoothing=0.1,
    )  # fmt: skip


def same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


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
def test_registered_networks_compute_what_the_reference_does(name):
    network = create_model(name)
    size = SIZES.get(name)
    close(network.replace(input_size=size) if size else network)


@settings(max_examples=40)
@given(networks())
def test_any_network_computes_what_the_reference_does(network):
    close(network)


def test_native_without_weights_begins_as_pytorch_does():
    torch.manual_seed(0)
    module = backend.native(create_model("lenet"))
    torch.manual_seed(0)
    first = torch.nn.Conv2d(1, 6, 5, padding=2)
    assert torch.equal(module.conv1.weight, first.weight)
    assert torch.equal(module.conv1.bias, first.bias)


def test_weights_go_in_and_out_unchanged_and_as_copies():
    model = begin()
    given = initialize(PLAIN, INITIALIZERS["he"], 11)
    model.load_weights(given)
    taken = model.weights()
    same(taken, given)
    taken["block2.conv.weight"][:] = 0
    same(model.weights(), given)


def test_weights_of_another_network_are_refused_with_the_difference():
    with pytest.raises(WeightsError, match=r"missing: block1\.norm\.weight"):
        begin().load_weights(initialize(FOLDED, INITIALIZERS["he"], 0))


@every_device
@pytest.mark.parametrize(("network", "fit", "shape"), [
    (PLAIN, "squash", (8, 8)), (PLAIN, "squash", (9, 30)), (PLAIN, "crop", (9, 7)), (PLAIN, "pad", (9, 6)),
    (PLAIN, "squash", (12, 12)), (FOLDED, "squash", (8, 16)), (FOLDED, "pad", (8, 5)), (FOLDED, "crop", (8, 9)),
])  # fmt: skip
@pytest.mark.parametrize("antialias", [True, False])
def test_logits_are_the_references(network, fit, shape, antialias, device):
    preprocess = Preprocess(
        network.input_size[0], mode="RGB", fit=fit, antialias=antialias, mean=COLOURS.mean, std=COLOURS.std
    )
    model = begin(network, preprocess=preprocess, device=device)
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
    model = begin(create_model("nin_28", num_classes=5, input_channels=3).replace(input_size=12))
    images = np.random.default_rng(3).integers(0, 256, (260, 8, 8, 3), dtype=np.uint8)  # more than one batch of 256
    whole = model.logits(images)
    assert whole.shape == (260, 5)
    parts = np.concatenate([model.logits(images[:1]), model.logits(images[1:40]), model.logits(images[40:])])
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    assert model.logits(images[:0]).shape == (0, 5)


def test_images_that_are_only_read_or_reversed_are_taken():
    model, images = begin(), IMAGES.copy()
    images.setflags(write=False)
    expected = begin().logits(np.ascontiguousarray(IMAGES[:, ::-1]))
    np.testing.assert_array_equal(model.logits(images[:, ::-1]), expected)
    model.attach(images[::-1], LABELS[::-1])
    model.train_step(make_plan())
    assert model.read_metrics().examples == 8


@every_device
def test_bfloat16_stays_near_float32(device):
    network = create_model("nin_28", num_classes=5, input_channels=3).replace(input_size=16)
    exact = begin(network, device=device).logits(IMAGES)
    rounded = begin(network, precision="bfloat16", device=device).logits(IMAGES)
    assert 0 < np.abs(rounded - exact).max() < 0.03 * np.abs(exact).max()


# The fold


@pytest.fixture
def fold_always(monkeypatch):
    """Also where it saves nothing; a switch back for the plain path."""

    def switch(on):
        monkeypatch.setattr("mlpconv.backends.torch_model.can_fold", lambda *_: on)

    return switch


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    source=st.tuples(st.integers(1, 7), st.integers(1, 7)), across=st.integers(1, 6), down=st.integers(1, 6),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)), stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
)  # fmt: skip
def test_the_fold_is_the_plain_path(fold_always, source, across, down, kernel, stride, bias):
    height, width = source
    size = int(np.lcm(height * down, width * across))
    assume(size <= 200)
    kernel = (min(kernel[0], size), min(kernel[1], size))
    # The gradient of a ReLU would jump where rounding changes a sign.
    network = Network(
        Block(conv=Conv2d(4, kernel, stride, bias=bias), sigmoid=Sigmoid()), GlobalAvgPool2d(), Flatten(),
        input_channels=3, input_size=size,
    )  # fmt: skip
    model = backend.build(network, COLOURS, optimizer=Optimizer())
    model.load_weights(initialize(network, INITIALIZERS["xavier"], 1))
    pixels = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (2, 3, *source), dtype=np.uint8))
    results = []
    for folded in (True, False):
        fold_always(folded)
        model.native.zero_grad()
        logits = model._forward(pixels, size)
        (logits * torch.arange(1, 9).reshape(2, 4)).sum().backward()
        results.append([logits.detach()] + [p.grad.clone() for p in model.native.parameters()])
    # Gradients are sums of at most 12 / std, from which the mean's share is taken: rounding is relative to those.
    for found, expected in zip(*results, strict=True):
        scale = max(12 / min(COLOURS.std), expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def test_the_fold_of_the_chapters_network_is_the_plain_path(fold_always):
    network = create_model("nin").replace(input_size=112)
    model = backend.build(network, Preprocess(112, mean=(0.3,), std=(0.4,)))
    model.load_weights(initialize(network, INITIALIZERS["open"], 1))
    images = IMAGES[:2, :7, :7, :1]
    fold_always(False)
    plain = model.logits(images)
    fold_always(True)
    np.testing.assert_allclose(model.logits(images), plain, rtol=0, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize(("source", "size"), [((8, 8), 56), ((28, 28), 56), ((5, 7), 35)])
def test_the_fold_enlarges_as_8_bit_images_are_enlarged(fold_always, source, size):
    # A 1×1 convolution with the weight 1 shows the enlarged image itself.
    network = Network(Block(conv=Conv2d(1, 1, bias=False)), Flatten(), input_size=size)
    model = backend.build(network, Preprocess(size))
    model.load_weights({"block1.conv.weight": np.ones((1, 1, 1, 1), np.float32)})
    fold_always(True)
    images = np.random.default_rng(9).integers(0, 256, (3, *source, 1), dtype=np.uint8)
    found = model.logits(images).reshape(3, size, size)
    for image, ours in zip(images, found, strict=True):
        theirs = Image.fromarray(image[..., 0]).resize((size, size), Image.Resampling.BILINEAR)
        assert np.abs(ours - np.asarray(theirs) / 255).max() <= 1 / 255 + 1e-6


def test_a_strided_1x1_convolution_of_few_channels_trains():
    # Channels last, oneDNN overwrites foreign memory here (its issue 6035): a crash, or other gradients.
    network = Network(
        Block(conv=Conv2d(6, 1, stride=(2, 1)), relu=ReLU()), Conv2d(5, 1), GlobalAvgPool2d(), Flatten(),
        input_channels=3, input_size=60,
    )  # fmt: skip
    model = begin(network, preprocess=Preprocess(60, mode="RGB", mean=COLOURS.mean, std=COLOURS.std))
    expected, _, _ = by_hand(network, OPTIMIZERS["momentum"], model.preprocess, [make_plan(0, 60)], model.weights())
    model.train_step(make_plan(0, 60))
    for name, value in model.weights().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)


# A training step


def seen_input(model, plan):
    """What the network is given in a step: (B, C, S, S)."""
    seen = []
    _, steps = model._plan(IMAGES.shape[1:3], (plan.image_size, plan.image_size), False)
    steps.insert(0, lambda x: seen.append(x.detach().cpu().numpy().copy()) or x)
    model.train_step(plan)
    steps.pop(0)
    return seen[0]


@st.composite
def plans(draw):
    count = draw(st.integers(1, 9))
    seed = draw(st.integers(0, 99))
    random = np.random.default_rng([10, seed])
    fields = {
        "flip": random.random(count) < 0.5,
        "shift": random.integers(-9, 10, (count, 2)),
        "erase": np.concatenate([random.integers(-4, 9, (count, 2)), random.integers(0, 9, (count, 2))], axis=1),
        "partner": random.permutation(count),
        "label_smoothing": 0.2,
    }
    used = {name: value for name, value in fields.items() if draw(st.booleans())}
    return make_plan(seed, draw(st.integers(5, 16)), count, mix=draw(st.floats(0, 1)), **used)


@settings(max_examples=60)
@given(plans())
def test_the_network_sees_what_the_plan_says(plan):
    model = begin()
    expected, targets = reference.carry_out(plan, IMAGES, LABELS, COLOURS, 5)
    weights = model.weights()
    np.testing.assert_allclose(seen_input(model, plan), expected, rtol=0, atol=2e-5)
    # Batch statistics are PyTorch's own here; the loss of its logits is the reference's.
    module = backend.native(PLAIN, weights).train()
    logits = module(torch.from_numpy(expected)).detach().numpy()
    metrics = model.read_metrics()
    assert metrics.loss == pytest.approx(reference.loss(logits, targets) * len(targets), rel=1e-4, abs=1e-5)
    assert metrics.examples == len(targets)


def by_hand(network, optimizer, preprocess, plan_list, weights):
    """Weights after some steps, by the reference's formulas and a plain module's gradients; with sums of metrics."""
    states, total, correct = {}, 0.0, 0
    for plan in plan_list:
        x, targets = reference.carry_out(plan, IMAGES, LABELS, preprocess, num_classes(network))
        module = backend.native(network, weights).train()
        logits = module(torch.from_numpy(x))
        F.cross_entropy(logits, torch.from_numpy(targets)).backward()
        total += len(x) * reference.loss(logits.detach().numpy(), targets)
        correct += int((logits.detach().numpy().argmax(1) == LABELS[plan.indices]).sum())
        weights = {name: module.state_dict()[name].numpy() for name in weights}
        for name, parameter in module.named_parameters():
            weights[name], states[name] = reference.update(
                optimizer, name, weights[name], parameter.grad.numpy(), states.get(name, {}), plan.learning_rate
            )
    return weights, total, correct


@every_device
@every_optimizer
@pytest.mark.parametrize(("network", "size"), [(PLAIN, 12), (FOLDED, 32)], ids=["plain", "folded"])
def test_training_steps_are_the_references(network, size, optimizer, device):
    assert can_fold(network, (8, 8), size) is (network is FOLDED)
    preprocess = Preprocess(size, mode="RGB", mean=COLOURS.mean, std=COLOURS.std)
    model = begin(network, optimizer, preprocess=preprocess, device=device)
    steps = [full_plan(0, size), make_plan(1, size), full_plan(2, size + 8, 5), full_plan(3, size)]
    expected, total, correct = by_hand(network, optimizer, preprocess, steps, model.weights())
    for plan in steps:
        model.train_step(plan)
    for name, value in model.weights().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=2e-5, err_msg=name)
    metrics = model.read_metrics(reset=True)
    assert metrics.loss == pytest.approx(total, rel=1e-4)
    assert (metrics.correct, metrics.examples, metrics.skipped) == (correct, 29, 0)
    assert model.read_metrics() == Metrics()


def test_weight_decay_is_for_kernels_alone():
    # An image of the mean is a zero to the network, and zero weights let no gradient through: the decay is left.
    optimizer = Optimizer("adamw", weight_decay=0.5)
    model = begin(optimizer=optimizer)
    start = model.weights()
    start["block2.mlp1.weight"][:] = 0
    start["block2.mlp1.bias"][:] = 0
    model.load_weights(start)
    hooks = [p.register_hook(torch.zeros_like) for p in model.native.parameters()]
    model.train_step(make_plan())
    assert hooks
    for name, value in model.weights().items():
        if is_statistic(name):
            continue
        factor = 1 - 0.05 * 0.5 if decays(name, value.shape) else 1
        np.testing.assert_allclose(value, factor * start[name], rtol=1e-6, err_msg=name)


def test_an_evaluation_between_steps_changes_nothing():
    one, other = begin(DROPPING), begin(DROPPING)
    for step in range(3):
        one.train_step(full_plan(step))
        other.train_step(full_plan(step))
        other.logits(IMAGES)
    same(one.training_state(), other.training_state())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dropout_comes_from_the_plans_seed_alone(precision):
    results = []
    for seed in (1, 1, 2):
        model = begin(DROPPING, precision=precision)
        torch.manual_seed(len(results))
        model.train_step(StepPlan(np.arange(8), 12, 0.1, seed))
        results.append(model.weights())
    same(results[0], results[1])
    assert not np.array_equal(results[0]["block2.conv.weight"], results[2]["block2.conv.weight"])


@every_device
def test_a_step_leaves_the_generators_of_the_program_alone(device):
    model = begin(DROPPING, device=device)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    on_device = torch.cuda.get_rng_state() if device == "cuda" else torch.empty(0)
    model.train_step(full_plan())
    model.logits(IMAGES)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    np.testing.assert_array_equal(before[2], np.random.get_state()[1])  # noqa: NPY002
    if device == "cuda":
        assert torch.equal(on_device, torch.cuda.get_rng_state())


# Updates that are masked

BAD_IMAGES = "the images are NaN"
BAD_GRADIENT = "one gradient is infinite"


def bad_step(model, why, step=1):
    if why == BAD_IMAGES:
        plan = full_plan(step)
        model.train_step(make_plan(step, partner=plan.partner, mix=float("nan")))
        return
    parameter = dict(model.native.named_parameters())["block2.mlp1.bias"]
    hook = parameter.register_hook(lambda gradient: gradient * torch.inf)
    model.train_step(make_plan(step))
    hook.remove()


@every_device
@every_optimizer
@pytest.mark.parametrize("why", [BAD_IMAGES, BAD_GRADIENT])
@pytest.mark.parametrize("good", [0, 2], ids=["first", "later"])
def test_a_step_that_is_not_finite_never_was(optimizer, why, good, device):
    model, spared = begin(optimizer=optimizer, device=device), begin(optimizer=optimizer, device=device)
    for step in range(good):
        model.train_step(full_plan(step))
        spared.train_step(full_plan(step))
    before = model.training_state()
    bad_step(model, why)
    after = model.training_state()
    assert before.pop("metrics").tolist()[:3] == after.pop("metrics").tolist()[:3]
    same(before, after)
    assert model.read_metrics() == spared.read_metrics()._replace(skipped=1)
    for step in range(5, 7):
        model.train_step(full_plan(step))
        spared.train_step(full_plan(step))
    same(model.weights(), spared.weights())
    assert model.read_metrics() == spared.read_metrics()._replace(skipped=1)


# Resuming


@every_device
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("at", [0, 3])
@every_optimizer
def test_a_training_state_goes_on_bit_for_bit(optimizer, precision, at, device):
    whole, first, second = (begin(DROPPING, optimizer, precision, device) for _ in range(3))
    for step in range(6):
        whole.train_step(full_plan(step))
        if step < at:
            first.train_step(full_plan(step))
    second.train_step(full_plan(20))  # what was there before is forgotten
    state = first.training_state()
    second.load_training_state(state)
    same(second.training_state(), state)
    for step in range(at, 6):
        second.train_step(full_plan(step))
    same(second.training_state(), whole.training_state())
    assert second.read_metrics() == whole.read_metrics()


def test_a_training_state_is_a_copy():
    model = begin()
    state = model.training_state()
    before = {name: value.copy() for name, value in state.items()}
    model.train_step(full_plan())
    same(state, before)


@pytest.mark.parametrize(("network", "optimizer", "message"), [
    (PLAIN, Optimizer("adam"), r"block1\.conv\.weight/exp_avg differs: another optimiser"),
    (PLAIN, Optimizer(), r"block1\.conv\.weight/momentum_buffer differs: another optimiser"),
    (FOLDED, OPTIMIZERS["momentum"], "these weights belong to another network"),
])  # fmt: skip
def test_a_foreign_training_state_is_refused(network, optimizer, message):
    state = begin().training_state()
    with pytest.raises(WeightsError, match=message):
        begin(network, optimizer).load_training_state(state)


def test_a_training_state_without_its_sums_is_refused():
    state = begin().training_state()
    del state["metrics"]
    with pytest.raises(WeightsError, match="the metric sums are missing"):
        begin().load_training_state(state)


# Devices


def test_the_back_end_has_a_name():
    assert "torch" in list_backends()
    with pytest.raises(MlpconvError, match="unknown backend 'torhc'; did you mean 'torch'"):
        get_backend("torhc")


def test_a_device_and_a_precision_are_chosen_as_asked_or_as_the_machine_is():
    assert backend.choose("cpu", "bfloat16") == ("cpu", "bfloat16")
    assert backend.choose("cpu:0", "float32") == ("cpu", "float32")
    assert backend.choose("cpu", None)[1] == ("bfloat16" if hardware.has_bfloat16() else "float32")
    assert backend.choose(None, "float32")[0] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert backend.describe_device("cpu") == f"cpu ({hardware.processor()}, 1 thread)"


@pytest.mark.parametrize(("device", "message"), [
    ("gpu", r"unknown device 'gpu'; did you mean 'xpu'\? known: cpu, cuda, mps, xpu"),
    ("meta", "unknown device 'meta'"),
    ("", "unknown device ''"),
    ("cuda:99", "device cuda:99: not usable here: .*; `mlpconv doctor`"),
    ("mps", "device mps: not usable here: .*; `mlpconv doctor`"),
    ("cpu:x", "device cpu:x: not usable here: Invalid device string"),
])  # fmt: skip
def test_a_device_that_is_not_there_is_refused_in_one_line(device, message):
    with pytest.raises(MlpconvError, match=message) as caught:
        backend.choose(device, None)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(RecipeError, match="unknown precision 'float16'; did you mean"):
        backend.choose("cpu", "float16")


def test_a_model_without_an_optimiser_is_for_use_alone():
    model = backend.build(PLAIN, COLOURS)
    assert model.logits(IMAGES).shape == (40, 5)
    with pytest.raises(AssertionError, match="without an optimizer"):
        model.train_step(make_plan())


@pytest.mark.parametrize(("options", "message"), [
    ({"momentum": 1.0}, r"optimizer\.momentum must be at least 0 and below 1, not 1\.0"),
    ({"weight_decay": -1e-3}, "weight_decay must be at least 0"),
    ({"weight_decay": float("nan")}, "weight_decay must be at least 0"),
    ({"eps": 0.0}, "eps above 0"),
    ({"name": "adam", "momentum": 0.9}, "adam has beta1 and beta2"),
    ({"nesterov": True}, "nesterov needs a momentum"),
    ({"name": "adam", "weight_decay": 0.1}, "use adamw"),
])  # fmt: skip
def test_an_optimiser_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        Optimizer(**options)
