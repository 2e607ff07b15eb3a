"""Data sets: labelled images in memory, where known sets are found, and how they are verified."""

from mlpconv.data.dataset import ImageDataset, Splits, hold_out

__all__ = ["ImageDataset", "Splits", "hold_out"]
