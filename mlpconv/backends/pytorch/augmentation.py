"""Images on the device: augmentation as a step plan says, and the square that a network takes."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mlpconv.arch.preprocess import Fit
from mlpconv.backends.base import StepPlan
from mlpconv.data.image import border_boxes


def augment(pixels: Tensor, plan: StepPlan, mean: Tensor) -> Tensor:
    """uint8 (B, C, H, W) flipped, cropped, shifted, colored, erased and cut as the plan says, as the reference does.

    mean: (1, C, 1, 1), what is erased becomes.
    """
    device = pixels.device

    def there(value: np.ndarray) -> Tensor:
        return torch.from_numpy(value).to(device, non_blocking=True)

    height, width = pixels.shape[2:]
    if plan.flip is not None:
        pixels = torch.where(there(plan.flip).view(-1, 1, 1, 1), pixels.flip(3), pixels)
    if plan.crop is not None:
        pixels = _cropped(pixels, there(plan.crop))
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    if plan.shift is not None:
        down, right = there(plan.shift).unbind(1)
        y, x = rows - down[:, None], columns - right[:, None]
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        batch = torch.arange(len(pixels), device=device)[:, None, None]
        moved = pixels.permute(0, 2, 3, 1)[batch, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
        pixels = torch.where(inside[..., None], moved, 0).permute(0, 3, 1, 2)
    if plan.color is not None:
        pixels = _colored(pixels, there(plan.color).int())
    if plan.erase is not None:
        top, left, tall, wide = there(plan.erase).unbind(1)
        y = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        x = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        fill = (mean * 255).round().to(pixels.dtype)
        pixels = torch.where((y[:, :, None] & x[:, None, :])[:, None], fill, pixels)
    if plan.cut is not None:
        assert plan.partner is not None
        top, left, tall, wide = plan.cut.tolist()
        y, x = (rows >= top) & (rows < top + tall), (columns >= left) & (columns < left + wide)
        # In a part of a batch, images to cut from follow those of the part.
        pixels = torch.where(y[:, None] & x, pixels[there(plan.partner)], pixels[: len(plan.partner)])
    return pixels


def _cropped(pixels: Tensor, crop: Tensor) -> Tensor:
    """The boxes of the images enlarged to the size of the images, bilinearly in integers."""
    height, width = pixels.shape[2:]
    images = pixels.permute(0, 2, 3, 1)
    numbers = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    (top, bottom, down), (left, right, over) = (
        _between(crop[:, axis], crop[:, 2 + axis], side) for axis, side in ((0, height), (1, width))
    )
    down, over = down[:, :, None, None], over[:, None, :, None]

    def row(rows: Tensor) -> Tensor:
        one, other = (images[numbers, rows[:, :, None], columns[:, None, :]].int() for columns in (left, right))
        return one * (256 - over) + other * over

    enlarged = (row(top) * (256 - down) + row(bottom) * down + (1 << 15)) >> 16
    return enlarged.to(torch.uint8).permute(0, 3, 1, 2)


def _between(start: Tensor, length: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``side`` pixels: the two pixels of the box between which it lies, and the weight of the second."""
    start, length = start[:, None], length[:, None]
    steps = (2 * torch.arange(side, device=start.device) + 1) * length * 128
    position = 256 * start + torch.div(steps, side, rounding_mode="floor") - 128
    position = torch.minimum(torch.maximum(position, 256 * start), 256 * (start + length - 1))
    first = position >> 8
    return first, torch.minimum(first + 1, start + length - 1), (position & 255).int()


def _colored(pixels: Tensor, color: Tensor) -> Tensor:
    """Images with brightness, contrast and saturation multiplied by 256ths, int32 (B, 3)."""
    brightness, contrast, saturation = (color[:, index, None, None, None] for index in range(3))
    values = _scaled(pixels.int(), 0, brightness)
    gray = values if pixels.shape[1] != 3 else _gray(values)
    mean = torch.div(gray.sum((1, 2, 3)), gray[0].numel(), rounding_mode="floor").int()
    values = _scaled(values, mean[:, None, None, None], contrast)
    if pixels.shape[1] == 3:
        values = _scaled(values, _gray(values), saturation)
    return values.to(torch.uint8)


def _gray(values: Tensor) -> Tensor:
    """The gray of colors, int32 (B, 1, H, W)."""
    red, green, blue = values.split(1, 1)
    return (77 * red + 150 * green + 29 * blue) >> 8


def _scaled(values: Tensor, center: Tensor | int, factor: Tensor) -> Tensor:
    """Distances from a center multiplied by 256ths, within 0..255."""
    return (center + (((values - center) * factor + 128) >> 8)).clamp(0, 255)


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
