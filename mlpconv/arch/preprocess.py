"""How images become the input of a network: part of a trained model, stored with it."""

import reprlib
from typing import Any, Literal, Self, get_args

import msgspec

from mlpconv.errors import NetworkError

MAX_PIXELS = 89_478_485
"""The most pixels of an image file that is accepted by default: 256 MiB at three bytes per pixel, as in Pillow."""
MAX_SIDE = 65_535
"""Longest side of an image in pixels: that of a JPEG file."""


Fit = Literal["squash", "crop", "pad", "pad-border"]
"""How an image with other proportions becomes a square."""
FITS: tuple[Fit, ...] = get_args(Fit)


class Preprocess(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How an image becomes the network's input. It is part of the model and is stored in its file.

    Example:
        >>> import mlpconv
        >>> preprocess = mlpconv.Preprocess(size=32, mode="RGB", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> preprocess.channels
        3
    """

    size: int
    """The side in pixels of the square that the network receives."""
    mode: Literal["L", "RGB"] = "L"
    """"L" is gray."""
    fit: Fit = "squash"
    """How an image with other proportions becomes a square: "squash" ignores the proportions, "crop" keeps the middle,
    "pad" adds black borders, "pad-border" adds borders in the color of the image's own border: for each channel the
    median of its outermost pixels, of an even number of them the lower of the two in the middle."""
    antialias: bool = True
    """Whether a low-pass filter is applied before an image is made smaller."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted from pixel values in 0..1, per channel; the chapter uses 0."""
    std: tuple[float, ...] = (1.0,)
    """Divides the values, per channel; the chapter uses 1."""
    source_size: tuple[int, int] | None = None
    """(height, width) of the training images. Images of other sizes are first resized to it, in 8 bits, so that the
    network sees no detail that was not there in training."""
    bits: int = 16
    """The bits of gray values that a file stores in more than 8, from 8 to 16: 2**bits − 1 is white. For a folder, they
    follow from the largest value in it."""
    max_pixels: int = MAX_PIXELS
    """Image files with more pixels are refused."""

    @classmethod
    def of_channels(cls, size: int, channels: int, **options: Any) -> Self:
        """Gray or RGB images by the number of channels, with values from 0 to 1 as in the chapter.

        Args:
            size: The side in pixels.
            channels: 1 or 3.
            options: Other fields; also mean and std.
        """
        plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
        return cls(size, "L" if channels == 1 else "RGB", **{**plain, **options})

    def __post_init__(self) -> None:
        for name, sides in (("size", (self.size,)), ("source_size", self.source_size or (1, 1))):
            if not all(1 <= side <= MAX_SIDE for side in sides):
                value = reprlib.repr(getattr(self, name))
                raise NetworkError(f"preprocess: {name} must be at least 1 and at most {MAX_SIDE}, not {value}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise NetworkError(
                f"preprocess: mode {self.mode} has {self.channels} channels, "
                f"but mean has {len(self.mean)} and std has {len(self.std)}"
            )
        if not 8 <= self.bits <= 16:
            raise NetworkError(f"preprocess: bits must be from 8 to 16, not {self.bits}")
        if not 1 <= self.max_pixels < 1 << 31:
            raise NetworkError(f"preprocess: max_pixels must be at least 1 and below 2**31, not {self.max_pixels}")
        # The network computes in float32: what its values cannot hold would make every output NaN.
        if not all(1e-30 < s < 1e30 for s in self.std):
            raise NetworkError(f"preprocess: std must be above 0 and finite, not {self.std}")
        if not all(abs(m) < 1e30 for m in self.mean):
            raise NetworkError(f"preprocess: mean must be finite, not {self.mean}")

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) that images are first resized to: ``source_size``, or that of the network's input."""
        return self.source_size or (self.size, self.size)

    @property
    def channels(self) -> int:
        """Number of channels of the mode."""
        return len(self.mode)
