"""Data sets: labeled images for training and testing.

`dataset` defines `ImageDataset`, which every source of data returns and every back end accepts. There are two sources:
`known`, the data sets known by name, which are downloaded and verified; and `folders`, your own images in a folder or
CSV list, which are decoded once into a cache. `image` decodes one file; `memory_mapped` handles images that are larger
than the memory.
"""

from mlpconv.data.dataset import ImageDataset, Splits, hold_out
from mlpconv.data.known.idx import read_idx
from mlpconv.data.known.registry import dataset_source, find_dataset, get_dataset, list_datasets, load_dataset
from mlpconv.data.known.source import Location, Source, SourceFile
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
]
