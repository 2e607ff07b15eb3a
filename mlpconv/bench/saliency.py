"""The peers of class maps: Grad-CAM on any layer, occlusion, and chance. Each gives a number for every pixel."""

import numpy as np
import torch
from torch import Tensor, nn

from mlpconv.arch.class_maps import grid
from mlpconv.backends import reference
from mlpconv.backends.base import Floats, Images, Labels
from mlpconv.explain.class_maps import interpolation, positions_on_image
from mlpconv.inference.classifier import Classifier

BATCH = 64


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


def grad_cam(classifier: Classifier, images: Images, classes: Labels, layer: str) -> Floats:
    """Grad-CAM at the images' size, float32 (N, H, W), at the same positions as class maps."""
    stored, module = classifier.stored, classifier.model.native.eval()
    device = next(module.parameters()).device
    found = []
    for start in range(0, len(images), BATCH):
        x = torch.from_numpy(reference.preprocess(images[start : start + BATCH], stored.preprocess)).to(device)
        wanted = torch.from_numpy(classes[start : start + BATCH]).to(device)
        found.append(grad_cam_maps(module, x, wanted, layer).cpu().numpy())
    maps = np.concatenate(found)
    side, size = images.shape[1:3], stored.preprocess.size
    last = [name for name, _ in stored.network.walk() if name == layer or name.startswith(f"{layer}.")][-1]
    positions = positions_on_image(
        grid(stored.network, last),
        maps.shape[1:],
        input_size=(size, size),
        image_size=(side[0], side[1]),
        fit=stored.preprocess.fit,
    )
    down, across = (interpolation(along, length) for along, length in zip(positions, side, strict=True))
    return (down @ maps @ across.T).astype(np.float32)


def occlusion(classifier: Classifier, images: Images, classes: Labels, fill: Images, share: int = 4) -> Floats:
    """Occlusion (Zeiler, Fergus 2013, arXiv:1311.2901): how much the class's logit falls when a square is covered.

    Args:
        classifier: The classifier.
        images: The images.
        classes: The class of each image, int64 (N,).
        fill: The color of the square, uint8 (C,).
        share: The side of the image divided by that of the square; squares overlap by half.

    Returns:
        The mean over the squares that cover a pixel, float32 (N, H, W).
    """
    count, height, width = images.shape[:3]
    tall, wide = max(height // share, 1), max(width // share, 1)
    rows = np.arange(count)
    whole = classifier.logits(images)[rows, classes]
    total, times = np.zeros((count, height, width), np.float32), np.zeros((height, width), np.float32)
    for top in range(-(tall // 2), height, max(tall // 2, 1)):
        for left in range(-(wide // 2), width, max(wide // 2, 1)):
            box = slice(max(top, 0), top + tall), slice(max(left, 0), left + wide)
            covered = images.copy()
            covered[:, box[0], box[1]] = fill
            total[:, box[0], box[1]] += (whole - classifier.logits(covered)[rows, classes])[:, None, None]
            times[box] += 1
    return total / times


def chance(images: Images, seed: int = 0) -> Floats:
    """A random number for each pixel, float32 (N, H, W)."""
    return np.random.default_rng(seed).random(images.shape[:3], np.float32)
