"""The peers of class maps are what they claim to be, on images at the size of the network and on larger ones."""

from typing import NamedTuple

import numpy as np
import pytest

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.explain.class_maps import class_maps

torch = pytest.importorskip("torch")
from mlpconv.backends.pytorch.backend import TorchBackend  # noqa: E402
from mlpconv.bench import saliency  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)


def network(rectified=True):
    tail = {"relu": ReLU()} if rectified else {}
    return Network(
        Block(conv=Conv2d(6, 3, padding=1), relu=ReLU()),
        MaxPool2d(2, stride=2),
        Block(conv=Conv2d(6, 3, padding=1), relu=ReLU()),
        Block(conv=Conv2d(3, 1), **tail),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=1,
        input_size=8,
        name="small",
    )


class Stored(NamedTuple):
    network: Network
    preprocess: Preprocess


class Untrained:
    """A classifier with random weights, without a run."""

    def __init__(self, net, seed, source_size=None):
        self.stored = Stored(net, Preprocess(8, source_size=source_size))
        self.model = TorchBackend().build(net, self.stored.preprocess)
        self.model.load_weights(initialize(net, INITIALIZERS["xavier"], seed))

    def logits(self, images):
        return self.model.logits(images)

    def class_maps(self, images, dense=False):
        names = [str(index) for index in range(len(images))]
        return class_maps(self.model, *self.stored, ("a", "b", "c"), images, names, dense=dense)


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_grad_cam_at_the_last_block_is_the_class_map_up_to_clipping_and_scale(rectified, seed):
    model = Untrained(network(rectified), seed).model
    maps = model.class_maps(IMAGES)
    x = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    positive = 0
    for label in range(3):
        cam = saliency.grad_cam_maps(model.native, x, torch.full((len(x),), label), "block3.conv").numpy()
        clipped = np.maximum(maps[:, label], 0)
        # Through a ReLU the gradient passes where the map is above 0; its mean is the scale.
        scale = (maps[:, label] > 0).mean((1, 2)) / 16 if rectified else np.full(len(x), 1 / 16)
        np.testing.assert_allclose(cam, clipped * scale[:, None, None], atol=1e-6)
        positive += int((cam > 0).sum())
    assert positive > 100


class Corner:
    """Its logits are 0, 1 and 2 times the brightness of the lower right quarter."""

    stored = Stored(network(), Preprocess(8))

    def logits(self, images):
        return (images[:, 4:, 4:].mean((1, 2)) * [0, 1, 2]).astype(np.float32)


def test_occlusion_finds_the_relevant_region():
    images = np.full((2, 8, 8, 1), 100, np.uint8)
    found = saliency.occlusion(saliency.View(Corner()), images, np.array([[0, 1], [2, 1]]))
    assert found.shape == (2, 2, 8, 8)
    assert (found[0, 0] == 0).all()
    # A square of 2×2 in the quarter of 16 pixels takes a quarter of its brightness.
    assert found[0, 1, 6, 6] == pytest.approx(25)
    np.testing.assert_allclose(found[1, 0], 2 * found[0, 1])
    assert (found[..., :3, :] == 0).all()
    assert (found[..., :3] == 0).all()


def test_methods_are_ours_then_the_blocks_from_the_end_then_the_others():
    names = ["class map", "Grad-CAM at block2", "Grad-CAM at block1", "occlusion", "chance"]
    assert list(saliency.methods(network())) == names


@pytest.mark.parametrize("dense", [False, True])
def test_each_class_has_its_own_maps_and_a_larger_image_has_larger_ones(dense):
    view = saliency.View(Untrained(network(rectified=False), 1, source_size=(8, 8)), dense)
    images = np.concatenate([IMAGES[:4], IMAGES[4:8]], axis=2)[:, : 8 if dense else 16]
    classes = np.array([[0, 1], [2, 0], [1, 1], [0, 2]])
    assert view.size(images) == ((8, 16) if dense else None)
    logits = view.logits(images)
    assert logits.shape == (4, 3)
    for name, method in saliency.methods(view.classifier.stored.network).items():
        maps = method(view, images, classes)
        assert maps.shape == (4, 2, 8, 16)
        if name == "chance":
            continue
        np.testing.assert_allclose(method(view, images, classes[:, ::-1].copy()), maps[:, ::-1], atol=1e-5)
        np.testing.assert_array_equal(maps[2, 0], maps[2, 1])
    maps = view.classifier.class_maps(images, dense=dense)
    assert maps.before.shape[2:] == ((4, 8) if dense else (4, 4))
    np.testing.assert_allclose(maps.logits, logits, atol=1e-5)
