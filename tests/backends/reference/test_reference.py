"""The reference against PyTorch's own functions and optimisers, and against what its docstrings promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.arch.layers import AvgPool2d, MaxPool2d
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import reference
from mlpconv.backends.base import StepPlan
from mlpconv.errors import DataError, NetworkError
from mlpconv.models import create_model, list_models
from mlpconv.optimizers import Optimizer
from support.random_values import random_input, random_weights
from support.strategies import networks
from support.torch_functions import torch_activations

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
F = torch.nn.functional


@settings(max_examples=150, deadline=None)
@given(networks())
def test_every_layer_agrees_with_pytorch(network: Network):
    weights, x = random_weights(network), random_input(network)
    expected = torch_activations(network, weights, x)
    found = reference.activations(network, weights, x)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(reference.forward(network, weights, x), list(found.values())[-1])


EDGES = [
    MaxPool2d(3, 2, ceil_mode=True),
    AvgPool2d(3, 2, 1, ceil_mode=True),
    AvgPool2d(3, 2, 1, count_include_pad=False),
    AvgPool2d(2, 3, 1, ceil_mode=True),
]


@pytest.mark.parametrize("pool", EDGES)
@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_windows_that_extend_over_the_edge(pool: MaxPool2d | AvgPool2d, size: int):
    network = Network(pool, input_channels=2, input_size=size)
    x = random_input(network) - 5  # A padding of zeros would win every maximum.
    np.testing.assert_allclose(
        reference.forward(network, {}, x), torch_activations(network, {}, x)["pool1"], rtol=1e-12
    )


def test_computes_in_the_type_of_its_input():
    network = create_model("nin_28")
    weights, x = random_weights(network, dtype=np.float32), random_input(network, batch=1)
    assert reference.forward(network, weights, x).dtype == np.float64
    single = reference.forward(network, weights, x.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, reference.forward(network, weights, x), rtol=1e-4, atol=1e-5)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(NetworkError, match="the input 3×28×28 has 3"):
        reference.forward(create_model("nin_28"), {}, np.zeros((1, 3, 28, 28)))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_resizing_agrees_with_bilinear_interpolation_in_pytorch(height: int, width: int, size: int, antialias: bool):
    x = np.random.default_rng(0).normal(0, 1, (2, 3, height, width))
    expected = F.interpolate(torch.from_numpy(x), (size, size), mode="bilinear", antialias=antialias).numpy()
    np.testing.assert_allclose(reference.resize(x, size, antialias), expected, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_the_weights_of_a_resize_matrix_sum_to_one(n_in: int, n_out: int, antialias: bool):
    matrix = reference.resize_matrix(n_in, n_out, antialias)
    assert matrix.shape == (n_out, n_in)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-9)
    if n_in == n_out:
        np.testing.assert_allclose(matrix, np.eye(n_in), atol=1e-12)


def some_images(count: int = 6, height: int = 9, width: int = 7, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


RGB = Preprocess(7, mode="RGB", mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))


def test_preprocess_normalises_each_channel():
    images = some_images(height=7)
    x = reference.preprocess(images, RGB)
    assert x.dtype == np.float32
    assert x.shape == (6, 3, 7, 7)
    np.testing.assert_allclose(x[4, 2, 3, 5], (images[4, 3, 5, 2] / 255 - 0.9) / 0.4, rtol=1e-6)


def bordered(image: np.ndarray) -> np.ndarray:
    """A 9×7 image with a column on each side in the median color of its outermost pixels, pixel by pixel."""
    height, width, channels = image.shape
    edge = [
        image[row, column]
        for row in range(height)
        for column in range(width)
        if row in (0, height - 1) or column in (0, width - 1)
    ]
    assert len(edge) == 28
    color = np.sort(edge, 0)[13]
    side = np.broadcast_to(color, (height, 1, channels))
    return np.concatenate([side, image, side], 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("fit", "prepared"),
    [
        ("squash", lambda images: images),
        ("crop", lambda images: images[:, 1:8]),
        ("pad", lambda images: np.pad(images, [(0, 0), (0, 0), (1, 1), (0, 0)])),
        ("pad-border", lambda images: np.stack([bordered(image) for image in images])),
    ],
)
def test_each_fit_selects_its_part_of_the_image(fit: str, prepared):
    images, p = some_images(), Preprocess(5, mode="RGB", fit=fit, mean=RGB.mean, std=RGB.std)
    plain = Preprocess(5, mode="RGB", mean=RGB.mean, std=RGB.std)
    np.testing.assert_array_equal(reference.preprocess(images, p), reference.preprocess(prepared(images), plain))
    assert reference.preprocess(images, p, size=11).shape == (6, 3, 11, 11)


def test_images_of_another_mode_are_refused():
    with pytest.raises(DataError, match=r"the images have 1 channel.*takes 3; convert the images to RGB"):
        reference.preprocess(some_images(channels=1), RGB)


def plan(**fields) -> StepPlan:
    return StepPlan(np.array([4, 0, 2]), 7, 0.1, 0, **fields)


LABELS = np.array([0, 1, 2, 3, 1, 0])


def carried_out(a_plan: StepPlan) -> tuple[np.ndarray, np.ndarray]:
    return reference.carry_out(a_plan, some_images(height=7), LABELS, RGB, 4)


def test_a_plan_without_augmentation_selects_its_images():
    x, targets = carried_out(plan())
    np.testing.assert_array_equal(x, reference.preprocess(some_images(height=7)[[4, 0, 2]], RGB))
    np.testing.assert_array_equal(targets, np.eye(4)[[1, 0, 2]])
    assert x.dtype == targets.dtype == np.float32


def test_flip_shift_and_erase_one_after_another():
    flip, shift = np.array([True, False, True]), np.array([[2, -1], [0, 0], [-7, 3]])
    erase = np.array([[0, 0, 2, 3], [5, 5, 2, 2], [0, 0, 0, 4]])
    expected = some_images(height=7)[[4, 0, 2]]
    for index, image in enumerate(expected):
        if flip[index]:
            image[:] = image[:, ::-1].copy()
        before, (down, right) = image.copy(), shift[index]
        for row, column in np.ndindex(7, 7):
            inside = 0 <= row - down < 7 and 0 <= column - right < 7
            image[row, column] = before[row - down, column - right] if inside else 0
        top, left, height, width = erase[index]
        image[top : top + height, left : left + width] = np.rint(255 * np.array(RGB.mean))
    a_plan = plan(flip=flip, shift=shift, erase=erase)
    np.testing.assert_array_equal(reference.augment(a_plan, some_images(height=7)[a_plan.indices], RGB), expected)
    np.testing.assert_array_equal(carried_out(a_plan)[0], reference.preprocess(expected, RGB))


def test_a_crop_is_enlarged_to_the_size_of_the_image():
    images = some_images(height=7)[[4, 0, 2]]
    crop = np.array([[0, 0, 7, 7], [1, 2, 5, 4], [6, 3, 1, 1]])
    found = reference.augment(plan(crop=crop), images, RGB)
    np.testing.assert_array_equal(found[0], images[0])
    box = images[1:2, 1:6, 2:6].transpose(0, 3, 1, 2).astype(float)
    expected = reference.resize(box, (7, 7), antialias=False)[0].transpose(1, 2, 0)
    # Positions are rounded to 256ths of a pixel.
    assert np.abs(found[1] - expected).max() <= 2
    assert (found[2] == images[2, 6, 3]).all()


def test_brightness_contrast_and_saturation():
    image = np.array([[[[100, 100, 100], [60, 120, 90]]]], np.uint8).repeat(3, 0)

    def colored(*factors):
        return reference.augment(plan(color=np.array([factors] * 3)), image, RGB)[0, 0].tolist()

    assert colored(256, 256, 256) == [[100, 100, 100], [60, 120, 90]]
    assert colored(512, 256, 256) == [[200, 200, 200], [120, 240, 180]]
    assert colored(1024, 256, 256)[1] == [240, 255, 255]
    mean = (100 + (77 * 60 + 150 * 120 + 29 * 90) // 256) // 2
    assert colored(256, 0, 256) == [[mean] * 3] * 2
    assert colored(256, 256, 0)[1] == [(77 * 60 + 150 * 120 + 29 * 90) // 256] * 3
    assert colored(0, 256, 256) == [[0, 0, 0]] * 2


def test_a_cut_takes_a_box_from_the_partner_and_mixes_the_labels():
    partner, cut = np.array([1, 2, 0]), np.array([2, 0, 3, 4])
    a_plan = plan(partner=partner, cut=cut, mix=0.7)
    images = some_images(height=7)[a_plan.indices]
    expected = images.copy()
    expected[:, 2:5, 0:4] = images[partner, 2:5, 0:4]
    np.testing.assert_array_equal(reference.augment(a_plan, images, RGB), expected)
    x, targets = carried_out(a_plan)
    np.testing.assert_array_equal(x, reference.preprocess(expected, RGB))
    np.testing.assert_allclose(targets[0].max(), 0.7, rtol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_mixing_and_smoothing():
    x, targets = carried_out(plan(partner=np.array([1, 1, 0]), mix=0.7, label_smoothing=0.2))
    plain = carried_out(plan())[0]
    np.testing.assert_allclose(x, 0.7 * plain + 0.3 * plain[[1, 1, 0]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(targets[0], [0.3 * 0.8 + 0.05, 0.7 * 0.8 + 0.05, 0.05, 0.05], rtol=1e-5)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_another_image_size():
    a_plan = StepPlan(np.array([1]), 14, 0.1, 0)
    np.testing.assert_array_equal(
        carried_out(a_plan)[0], reference.preprocess(some_images(height=7)[[1]], RGB, size=14)
    )


@given(st.integers(0, 1000), st.floats(0, 0.9))
def test_the_loss_agrees_with_pytorch(seed: int, smoothing: float):
    draw = np.random.default_rng(seed)
    logits, labels = draw.normal(0, 30, (5, 7)), draw.integers(0, 7, 5)
    targets = (1 - smoothing) * np.eye(7)[labels] + smoothing / 7
    expected = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), label_smoothing=smoothing)
    assert reference.loss(logits, targets) == pytest.approx(expected.item(), rel=1e-9)


OPTIMIZERS = {
    "sgd": (Optimizer(), torch.optim.SGD, {}),
    "momentum": (Optimizer(momentum=0.9, weight_decay=0.01), torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": (
        Optimizer(momentum=0.8, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ),
    "adam": (Optimizer("adam", beta1=0.8, eps=1e-4), torch.optim.Adam, {"betas": (0.8, 0.999), "eps": 1e-4}),
    "adamw": (Optimizer("adamw", weight_decay=0.3), torch.optim.AdamW, {"weight_decay": 0.3}),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(("name", "shape"), [("fc1.weight", (4, 3)), ("fc1.bias", (4,))])
def test_updates_agree_with_pytorch(kind: str, name: str, shape: tuple[int, ...]):
    optimizer, theirs, options = OPTIMIZERS[kind]
    draw = np.random.default_rng(3)
    p, state = draw.normal(0, 1, shape), reference.OptimizerState()
    parameter = torch.nn.Parameter(torch.from_numpy(p.copy()))
    decay = options.get("weight_decay", 0) if name.endswith("weight") else 0
    peer = theirs([parameter], lr=1, **{**options, "weight_decay": decay})
    for lr in (0.1, 0.1, 0.02, 0.3):
        g = draw.normal(0, 1, shape)
        parameter.grad = torch.from_numpy(g)
        peer.param_groups[0]["lr"] = lr
        peer.step()
        after, state = reference.update(optimizer, {name: p}, {name: g}, state, lr)
        p = after[name]
    np.testing.assert_allclose(p, parameter.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", list_models())
def test_every_registered_network_can_be_computed(name: str):
    network = create_model(name, num_classes=7)
    size = 64 if network.input_size == (224, 224) else network.input_size[0]
    network = network.replace(input_size=max(size, 96) if name in ("nin", "nin_imagenet", "alexnet") else size)
    weights, x = random_weights(network, dtype=np.float32), random_input(network, batch=1, dtype=np.float32)
    expected = list(torch_activations(network, weights, x).values())[-1]
    found = reference.forward(network, weights, x)
    assert found.shape == (1, 7)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
