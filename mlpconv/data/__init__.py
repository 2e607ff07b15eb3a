"""Data sets: labelled images in memory, where known sets are found, and how they are verified."""

from mlpconv.data.dataset import ImageDataset, Splits, hold_out
from mlpconv.data.known.descriptors import Location, Source, SourceFile
from mlpconv.data.known.idx import read_idx, write_idx
from mlpconv.data.known.registry import dataset_source, find_dataset, get_dataset, list_datasets, load_dataset
from mlpconv.data.samples import sample_sheet

__all__ = [
    "ImageDataset",
    "Location",
    "Source",
    "SourceFile",
    "Splits",
    "dataset_source",
    "find_dataset",
    "get_dataset",
    "hold_out",
    "list_datasets",
    "load_dataset",
    "read_idx",
    "sample_sheet",
    "write_idx",
]
