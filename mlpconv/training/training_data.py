"""The images that a training run uses, and a position in it: small values that the training functions share."""

from typing import NamedTuple

from mlpconv.backends.base import Images, Labels


class LabelledImages(NamedTuple):
    """Images with their labels."""

    images: Images
    """uint8 (N, H, W, C)."""
    labels: Labels
    """int64 (N,)."""


class TrainingData(NamedTuple):
    """The images of one run."""

    train: LabelledImages
    test: LabelledImages
    image_size: int
    """Side in pixels of the network's input where the recipe's ``image_sizes`` give none, and in evaluation."""
    validation: LabelledImages | None = None
    """Images held out of the training set; None where the recipe holds out none."""

    @property
    def side(self) -> tuple[int, int]:
        """(height, width) in pixels of the training images as they are stored."""
        return self.train.images.shape[1], self.train.images.shape[2]

    @property
    def evaluated(self) -> int:
        """How many images each epoch's evaluation covers."""
        return len(self.test.images) + (len(self.validation.images) if self.validation else 0)


class Position(NamedTuple):
    """A position in a run: ``step`` steps of ``epoch`` are done, both counted from 0."""

    epoch: int = 0
    step: int = 0


BEGINNING = Position()
