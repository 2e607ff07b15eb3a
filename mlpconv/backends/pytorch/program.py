"""A classifier as a program of ``torch.export``: from images to logits, without mlpconv."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Fit, Preprocess
from mlpconv.backends.base import Floats, Images, Weights
from mlpconv.backends.pytorch.augmentation import fit
from mlpconv.backends.pytorch.network import native
from mlpconv.backends.reference.images import resize_matrix


class Program(NamedTuple):
    """A program."""

    content: bytes
    """The content of a ``.pt2`` file."""
    logits: Callable[[Images], Floats]
    """The logits that it computes, float32 (N, classes), of uint8 (N, H, W, C)."""


class _Classifier(nn.Module):
    """From uint8 (N, H, W, C), of the size of the training images, to logits (N, classes)."""

    mean: Tensor
    std: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, network: Network, preprocess: Preprocess, weights: Weights, side: tuple[int, int]) -> None:
        super().__init__()
        self.network = native(network, weights).eval()
        self._fit: Fit = preprocess.fit
        self._size = preprocess.size
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(preprocess, name)).view(1, -1, 1, 1))
        for name, before in zip(("rows", "columns"), side, strict=True):
            matrix = resize_matrix(before, preprocess.size, preprocess.antialias).astype(np.float32)
            self.register_buffer(name, torch.from_numpy(matrix))

    def forward(self, images: Tensor) -> Tensor:
        x = (fit(images.permute(0, 3, 1, 2), self._fit).float() / 255 - self.mean) / self.std
        if x.shape[3] != self._size:
            x = x @ self.columns.T
        if x.shape[2] != self._size:
            x = self.rows @ x
        return self.network(x)


def export_program(network: Network, preprocess: Preprocess, weights: Weights, texts: dict[str, str]) -> Program:
    """Export a classifier for uint8 images (N, H, W, C) of the size of the training images, and any N.

    Args:
        network: The network.
        preprocess: The preprocessing, which is part of the program.
        weights: The canonical weights.
        texts: The texts that the file also contains, by their names.
    """
    height, width = preprocess.image_size
    square = min(height, width) if preprocess.fit == "crop" else max(height, width)
    fitted = (height, width) if preprocess.fit == "squash" else (square, square)
    classifier = _Classifier(network, preprocess, weights, fitted)
    example = torch.zeros(2, height, width, preprocess.channels, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(classifier, (example,), dynamic_shapes={"images": {0: batch}})
    content = io.BytesIO()
    torch.export.save(program, content, extra_files=texts)
    module = program.module()

    def logits(images: Images) -> Floats:
        with torch.inference_mode():
            return module(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    return Program(content.getvalue(), logits)
