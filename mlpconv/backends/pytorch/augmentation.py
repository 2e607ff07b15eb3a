"""Images on the device: augmentation as a step plan says, and the square that a network takes."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mlpconv.arch.preprocess import Fit
from mlpconv.backends.base import StepPlan
from mlpconv.data.image import border_boxes


def augment(pixels: Tensor, plan: StepPlan, mean: Tensor) -> Tensor:
    """uint8 (B, C, H, W) flipped, shifted and erased as the plan says; mean: (1, C, 1, 1), what is erased becomes."""
    device = pixels.device

    def there(value: np.ndarray) -> Tensor:
        return torch.from_numpy(value).to(device, non_blocking=True)

    height, width = pixels.shape[2:]
    if plan.flip is not None:
        pixels = torch.where(there(plan.flip).view(-1, 1, 1, 1), pixels.flip(3), pixels)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    if plan.shift is not None:
        down, right = there(plan.shift).unbind(1)
        y, x = rows - down[:, None], columns - right[:, None]
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        batch = torch.arange(len(pixels), device=device)[:, None, None]
        moved = pixels.permute(0, 2, 3, 1)[batch, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
        pixels = torch.where(inside[..., None], moved, 0).permute(0, 3, 1, 2)
    if plan.erase is not None:
        top, left, tall, wide = there(plan.erase).unbind(1)
        y = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        x = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        fill = (mean * 255).round().to(pixels.dtype)
        pixels = torch.where((y[:, :, None] & x[:, None, :])[:, None], fill, pixels)
    return pixels


def fit(pixels: Tensor, how: Fit) -> Tensor:
    """uint8 (B, C, H, W) made square as Preprocess.fit says, before resizing; "squash" leaves it to the resizing."""
    height, width = pixels.shape[2:]
    if how == "squash" or height == width:
        return pixels
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[:, :, top : top + side, left : left + side]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    if how == "pad":
        return F.pad(pixels, (left, side - width - left, top, side - height - top))
    square = _border_color(pixels)[:, :, None, None].expand(-1, -1, side, side).clone()
    square[:, :, top : top + height, left : left + width] = pixels
    return square


def _border_color(pixels: Tensor) -> Tensor:
    """The color of the border of each image, (B, C): as ``mlpconv.data.image.border_color``."""
    boxes = border_boxes(*pixels.shape[2:])
    edge = torch.cat([pixels[:, :, top:bottom, left:right].flatten(2) for top, left, bottom, right in boxes], 2)
    # Not torch.median, which has no deterministic algorithm on a GPU.
    return edge.sort(2).values[:, :, (edge.shape[2] - 1) // 2]
