"""The folded first convolution (common/resize_folding.py) in PyTorch: a 1×1 convolution of patches of knots."""

import torch
from torch import Tensor, nn

from mlpconv.arch.layers import Conv2d
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.common.resize_folding import fold_axes


class Fold:
    """Normalisation, enlarging and the first convolution in one, for images of one size.

    source: (height, width) of the images; size: of the enlarged square. outputs: (rows, columns) that are wanted of
    the convolution. The patches are a sixth of its output, and as channels they suit the library that carries it out
    far better than one channel does.
    """

    def __init__(
        self,
        layer: Conv2d,
        module: nn.Conv2d,
        source: tuple[int, int],
        size: int,
        preprocess: Preprocess,
        outputs: tuple[int, int],
    ) -> None:
        device = module.weight.device
        self.module = module
        self.rows, self.columns = fold_axes(layer, source, size, outputs)
        with torch.inference_mode(False):  # kept for training, whoever comes first
            axes = (self.rows, self.columns)
            self._knots = [torch.from_numpy(axis.knots).float().to(device) for axis in axes]
            self._matrices = [torch.from_numpy(axis.matrix).float().to(device) for axis in axes]
            self._mean, self._std = (
                torch.tensor(value, device=device).view(1, -1, 1, 1) for value in (preprocess.mean, preprocess.std)
            )

    def patches(self, pixels: Tensor) -> Tensor:
        """(B, kernel columns · kernel rows · C, rows, columns), channels last, for pixel values (B, C, H, W)."""
        down, across = self._knots
        with torch.autocast(pixels.device.type, enabled=False):
            knots = (down @ pixels.float() @ across.t()).permute(0, 2, 3, 1)
        if torch.is_autocast_enabled(pixels.device.type):
            knots = knots.to(torch.get_autocast_dtype(pixels.device.type))
        for axis, (fold, place) in enumerate(((self.rows, 1), (self.columns, 2))):
            span = fold.stride * (fold.outputs - 1) + 1
            shifted = [knots.narrow(place, start, span) for start in range(len(self._matrices[axis]))]
            strided = [each[:, :: fold.stride] if place == 1 else each[:, :, :: fold.stride] for each in shifted]
            knots = torch.cat(strided, dim=3)
        return knots.permute(0, 3, 1, 2)

    def parameters(self) -> tuple[Tensor, Tensor]:
        """The weight (out, channels of the patches, 1, 1) and the bias of the convolution of the patches."""
        with torch.autocast(self._std.device.type, enabled=False):
            weight = self.module.weight
            down, across = self._matrices
            folded = torch.einsum("ik,ockl,jl->ojic", down, weight / (255 * self._std), across)
            bias = -(weight * (self._mean / self._std)).sum((1, 2, 3))
            bias = bias if self.module.bias is None else bias + self.module.bias
        return folded.flatten(1)[:, :, None, None], bias
