"""Class maps and their peers: Grad-CAM on any layer, occlusion, and chance. Each gives a number for every pixel."""

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from mlpconv.arch.class_maps import grid
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends import reference
from mlpconv.backends.base import Floats, Images, Labels, Model
from mlpconv.explain.class_maps import dense_input_size, interpolation, positions_on_image
from mlpconv.inference.classifier import Classifier

BATCH = 64
OURS, CHANCE = "class map", "chance"


class View(NamedTuple):
    """A classifier, and how it is shown images."""

    classifier: Classifier
    dense: bool = False
    """Whether images keep their size, with pixels as large as those of a training image, instead of being resized."""

    @property
    def model(self) -> Model:
        """The network in its back end."""
        return cast(Model, self.classifier.model)  # not an ONNX file

    def size(self, images: Images) -> tuple[int, int] | None:
        """(height, width) of the network's input for images; None for the size and the fit that it was trained with."""
        return dense_input_size(self.classifier.stored.preprocess, *images.shape[1:3]) if self.dense else None

    def logits(self, images: Images) -> Floats:
        """The logits, float32 (N, classes), of images, uint8 (N, H, W, C)."""
        if not self.dense:
            return self.classifier.logits(images)
        return self.classifier.class_maps(images, dense=True).logits


Method = Callable[[View, Images, Labels], Floats]
"""Explains classes: (view, images, uint8 (N, H, W, C), classes, int64 (N, K)) → float32 (N, K, H, W)."""


def methods(network: Network) -> dict[str, Method]:
    """Each method by its name, ours first: class maps, Grad-CAM at the end of each block before the last, the others.

    At the end of the last block, Grad-CAM is the class map up to a factor, without its negative values.
    """
    found: dict[str, Method] = {OURS: class_map}
    maps = {row.name.partition(".")[0] for row in layer_shapes(network) if len(row.output_shape) == 3}
    blocks = [name for name, layer in network.layers.items() if isinstance(layer, Block) and name in maps]
    for block in reversed(blocks[:-1]):
        found[f"Grad-CAM at {block}"] = lambda view, images, classes, block=block: grad_cam(
            view, images, classes, block
        )
    return found | {"occlusion": occlusion, CHANCE: chance}


def class_map(view: View, images: Images, classes: Labels) -> Floats:
    """The maps of the classes before the last ReLU, at the images' size."""
    maps = view.classifier.class_maps(images, dense=view.dense)
    return maps.over_images(np.take_along_axis(maps.before, classes[:, :, None, None], 1))


def grad_cam_maps(module: nn.Module, x: Tensor, classes: Tensor, layer: str) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) at the layer's own size, (B, h, w).

    The maps of the layer, each weighted by the mean of the logit's gradient over its positions, are added up; negative
    values become 0.

    Args:
        module: The network, in evaluation mode.
        x: Its input, (B, C, H, W).
        classes: The class of each image, int64 (B,).
        layer: The full name of a layer or block whose output is a map.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()  # a ReLU may overwrite what it is given

    handle = module.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = module(x.requires_grad_())
            logits.gather(1, classes[:, None]).sum().backward()
    finally:
        handle.remove()
        module.zero_grad()
    (activations,) = kept
    assert activations.grad is not None
    weights = activations.grad.mean((2, 3), keepdim=True)
    return (weights * activations.detach()).sum(1).clamp(min=0)


def grad_cam(view: View, images: Images, classes: Labels, layer: str) -> Floats:
    """Grad-CAM at the images' size, at the same positions as class maps: see ``Method``."""
    stored, module = view.classifier.stored, view.model.native.eval()
    device, dense_size = next(module.parameters()).device, view.size(images)
    found = []
    for start in range(0, len(images), BATCH):
        pixels = reference.preprocess(images[start : start + BATCH], stored.preprocess, dense_size)
        x, wanted = (torch.from_numpy(values).to(device) for values in (pixels, classes[start : start + BATCH]))
        of_classes = [grad_cam_maps(module, x.detach(), column, layer) for column in wanted.T]
        found.append(torch.stack(of_classes, 1).cpu().numpy())
    maps = np.concatenate(found)
    side = (images.shape[1], images.shape[2])
    last = [name for name, _ in stored.network.walk() if name == layer or name.startswith(f"{layer}.")][-1]
    positions = positions_on_image(
        grid(stored.network, last),
        maps.shape[2:],
        input_size=dense_size or (stored.preprocess.size, stored.preprocess.size),
        image_size=side,
        fit="squash" if view.dense else stored.preprocess.fit,
    )
    down, across = (interpolation(along, length) for along, length in zip(positions, side, strict=True))
    return (down @ maps @ across.T).astype(np.float32)


def occlusion(view: View, images: Images, classes: Labels, share: int = 4) -> Floats:
    """Occlusion (Zeiler, Fergus 2013, arXiv:1311.2901): how much a class's logit falls when a square is covered.

    Args:
        view: The classifier.
        images: The images, uint8 (N, H, W, C).
        classes: The classes of each image, int64 (N, K).
        share: The side of the image divided by that of the square, which has the mean color of the training images;
            squares overlap by about half.

    Returns:
        The mean over the squares that cover a pixel, float32 (N, K, H, W).
    """
    fill = np.rint(255 * np.array(view.classifier.stored.preprocess.mean)).astype(np.uint8)
    height, width = images.shape[1:3]
    tall, wide = max(height // share, 1), max(width // share, 1)
    whole = np.take_along_axis(view.logits(images), classes, 1)
    total, times = np.zeros((*classes.shape, height, width), np.float32), np.zeros((height, width), np.float32)
    for top in range(-(tall // 2), height, (tall + 1) // 2):
        for left in range(-(wide // 2), width, (wide + 1) // 2):
            box = slice(max(top, 0), top + tall), slice(max(left, 0), left + wide)
            covered = images.copy()
            covered[:, box[0], box[1]] = fill
            fall = whole - np.take_along_axis(view.logits(covered), classes, 1)
            total[:, :, box[0], box[1]] += fall[:, :, None, None]
            times[box] += 1
    return total / times


def chance(view: View, images: Images, classes: Labels, seed: int = 0) -> Floats:
    """A random number for each pixel, the same for every network: see ``Method``."""
    return np.random.default_rng(seed).random((*classes.shape, *images.shape[1:3]), np.float32)
