"""PyTorch's training against the NumPy reference: whole steps, masked updates, exact resume."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import reference
from mlpconv.backends.base import Metrics, StepPlan
from mlpconv.backends.common.resize_folding import can_fold
from mlpconv.backends.weights import is_statistic
from mlpconv.errors import WeightsError
from mlpconv.optimizers import Optimizer, has_weight_decay
from support.torch_training_steps import (
    COLOR_PREPROCESS,
    FOLDED,
    IMAGES,
    LABELS,
    OPTIMIZERS,
    PLAIN,
    WITH_DROPOUT,
    assert_equal_tensors,
    backend,
    build_model,
    every_device,
    every_optimizer,
    full_plan,
    make_plan,
    reference_steps,
    torch,
)

# A training step


def seen_input(model, plan):
    """What the network is given in a step: (B, C, S, S)."""
    seen = []
    _, steps = model._plan(IMAGES.shape[1:3], (plan.image_size, plan.image_size), False)
    steps.insert(0, lambda x: seen.append(x.detach().cpu().numpy().copy()) or x)
    model.train_step(plan)
    steps.pop(0)
    return seen[0]


def some_crops(random, count):
    """Boxes within the images, int64 (count, 4)."""
    sides = np.array(IMAGES.shape[1:3])
    lengths = random.integers(1, sides + 1, (count, 2))
    return np.concatenate([random.integers(0, sides - lengths + 1), lengths], 1)


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
        "crop": some_crops(random, count),
        "color": random.integers(0, 513, (count, 3)),
    }
    used = {name: value for name, value in fields.items() if draw(st.booleans())}
    if "partner" in used and draw(st.booleans()):
        used["cut"] = some_crops(random, 1)[0]
    return make_plan(seed, draw(st.integers(5, 16)), count, mix=draw(st.floats(0, 1)), **used)


@settings(max_examples=60)
@given(plans())
def test_the_input_of_the_network_follows_the_plan(plan):
    model = build_model()
    expected, targets = reference.carry_out(plan, IMAGES, LABELS, COLOR_PREPROCESS, 5)
    weights = model.weights()
    np.testing.assert_allclose(seen_input(model, plan), expected, rtol=0, atol=2e-5)
    # Batch statistics are PyTorch's own here; the loss of its logits is the reference's.
    module = backend.native(PLAIN, weights).train()
    logits = module(torch.from_numpy(expected)).detach().numpy()
    metrics = model.read_metrics()
    assert metrics.loss == pytest.approx(reference.loss(logits, targets) * len(targets), rel=1e-4, abs=1e-5)
    assert metrics.examples == len(targets)


@every_device
@every_optimizer
@pytest.mark.parametrize(("network", "size"), [(PLAIN, 12), (FOLDED, 32)], ids=["plain", "folded"])
def test_training_steps_agree_with_the_reference(network, size, optimizer, device):
    assert can_fold(network, (8, 8), size) is (network is FOLDED)
    preprocess = Preprocess(size, mode="RGB", mean=COLOR_PREPROCESS.mean, std=COLOR_PREPROCESS.std)
    model = build_model(network, optimizer, preprocess=preprocess, device=device)
    steps = [full_plan(0, size), make_plan(1, size), full_plan(2, size + 8, 5), full_plan(3, size)]
    expected, total, correct = reference_steps(network, optimizer, preprocess, steps, model.weights())
    for plan in steps:
        model.train_step(plan)
    for name, value in model.weights().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=2e-5, err_msg=name)
    metrics = model.read_metrics(reset=True)
    assert metrics.loss == pytest.approx(total, rel=1e-4)
    assert (metrics.correct, metrics.examples, metrics.skipped) == (correct, 29, 0)
    assert model.read_metrics() == Metrics()


def test_weight_decay_applies_only_to_kernels():
    # An image of the mean is a zero to the network, and zero weights let no gradient through: the decay is left.
    optimizer = Optimizer("adamw", weight_decay=0.5)
    model = build_model(optimizer=optimizer)
    start = model.weights()
    start["block2.mlp1.weight"][:] = 0
    start["block2.mlp1.bias"][:] = 0
    model.load_weights(start)
    hooks = [p.register_hook(torch.zeros_like) for p in model.native.parameters()]
    model.train_step(make_plan())
    assert len(hooks) == len(list(model.native.parameters())) > 4
    for name, value in model.weights().items():
        if is_statistic(name):
            continue
        factor = 1 - 0.05 * 0.5 if has_weight_decay(value.shape) else 1
        np.testing.assert_allclose(value, factor * start[name], rtol=1e-6, err_msg=name)


def test_an_evaluation_between_steps_changes_nothing():
    one, other = build_model(WITH_DROPOUT), build_model(WITH_DROPOUT)
    for step in range(3):
        one.train_step(full_plan(step))
        other.train_step(full_plan(step))
        other.logits(IMAGES)
    assert_equal_tensors(one.training_state(), other.training_state())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dropout_depends_only_on_the_seed_of_the_plan(precision):
    results = []
    for seed in (1, 1, 2):
        model = build_model(WITH_DROPOUT, precision=precision)
        torch.manual_seed(len(results))
        model.train_step(StepPlan(np.arange(8), 12, 0.1, seed))
        results.append(model.weights())
    assert_equal_tensors(results[0], results[1])
    assert not np.array_equal(results[0]["block2.conv.weight"], results[2]["block2.conv.weight"])


@every_device
def test_a_step_does_not_change_the_random_generators_of_the_program(device):
    model = build_model(WITH_DROPOUT, device=device)
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
def test_a_step_that_is_not_finite_changes_nothing(optimizer, why, good, device):
    model, spared = build_model(optimizer=optimizer, device=device), build_model(optimizer=optimizer, device=device)
    for step in range(good):
        model.train_step(full_plan(step))
        spared.train_step(full_plan(step))
    before = model.training_state()
    bad_step(model, why)
    after = model.training_state()
    assert before.pop("metrics").tolist()[:3] == after.pop("metrics").tolist()[:3]
    assert_equal_tensors(before, after)
    assert model.read_metrics() == spared.read_metrics()._replace(skipped=1)
    for step in range(5, 7):
        model.train_step(full_plan(step))
        spared.train_step(full_plan(step))
    assert_equal_tensors(model.weights(), spared.weights())
    assert model.read_metrics() == spared.read_metrics()._replace(skipped=1)


# Resuming


@every_device
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("at", [0, 3])
@every_optimizer
def test_a_training_state_resumes_bit_for_bit(optimizer, precision, at, device):
    whole, first, second = (build_model(WITH_DROPOUT, optimizer, precision, device) for _ in range(3))
    for step in range(6):
        whole.train_step(full_plan(step))
        if step < at:
            first.train_step(full_plan(step))
    second.train_step(full_plan(20))  # what was there before is forgotten
    state = first.training_state()
    second.load_training_state(state)
    assert_equal_tensors(second.training_state(), state)
    for step in range(at, 6):
        second.train_step(full_plan(step))
    assert_equal_tensors(second.training_state(), whole.training_state())
    assert second.read_metrics() == whole.read_metrics()


def test_a_training_state_is_a_copy():
    model = build_model()
    state = model.training_state()
    before = {name: value.copy() for name, value in state.items()}
    model.train_step(full_plan())
    assert_equal_tensors(state, before)


@pytest.mark.parametrize(
    ("network", "optimizer", "message"),
    [
        (PLAIN, Optimizer("adam"), r"block1\.conv\.weight/exp_avg differs: another optimizer"),
        (PLAIN, Optimizer(), r"block1\.conv\.weight/momentum_buffer differs: another optimizer"),
        (FOLDED, OPTIMIZERS["momentum"], "these weights belong to another network"),
    ],
)
def test_a_foreign_training_state_is_refused(network, optimizer, message):
    state = build_model().training_state()
    with pytest.raises(WeightsError, match=message):
        build_model(network, optimizer).load_training_state(state)


def test_a_training_state_without_its_sums_is_refused():
    state = build_model().training_state()
    del state["metrics"]
    with pytest.raises(WeightsError, match="the metric sums are missing"):
        build_model().load_training_state(state)
