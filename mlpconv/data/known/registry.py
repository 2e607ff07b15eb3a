"""List, locate and load the data sets known by name."""

import importlib.util
import os
from pathlib import Path

from mlpconv.data.dataset import Splits
from mlpconv.data.known.definitions import KNOWN
from mlpconv.data.known.digits import PACKAGE, load_digits
from mlpconv.data.known.download import Progress
from mlpconv.data.known.locate import fetch_into, find_locally, find_or_fetch
from mlpconv.data.known.readers import read_splits
from mlpconv.data.known.source import Location, Source
from mlpconv.errors import DataError, unknown

_SOURCES = {source.name: source for source in KNOWN}


def list_datasets() -> list[str]:
    """The names of the known data sets."""
    return list(_SOURCES)


def dataset_source(name: str) -> Source:
    """The definition of a known data set.

    Raises:
        DataError: The name is unknown; the message suggests the most similar one.
    """
    if name not in _SOURCES:
        raise DataError(
            f"{unknown('data set', name, _SOURCES)}; for your own data, specify a folder of images or a CSV file"
        )
    return _SOURCES[name]


def load_dataset(
    name: str | Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Splits:
    """Load a data set, downloading it first if it is not on this machine.

    Args:
        name: One of `list_datasets()`, or a Source of your own.
        directory: A directory that contains the files, directly or in a subdirectory of the data set's name; no other
            location is then tried. By default the environment variable MLPCONV_DATA, if it is set.
        cache: The cache directory (see `cache_directory`).
        download: False to only look on this machine.
        progress: Called during downloads with the name of the file, the bytes received, and the bytes in total (0 if
            unknown).

    Returns:
        Splits(train, test) of ImageDataset: images uint8 (N, H, W, C), labels int64 (N,).

    Raises:
        DataError: The name is unknown, files in the given directory are missing or differ from the published ones, or
            the data set is not available anywhere: the message then lists each location tried, and how to get the files
            manually.
        MissingDependency: The data set comes with a package that is not installed.

    Example:
        >>> import mlpconv
        >>> train, test = mlpconv.load_dataset("digits")
        >>> train
        ImageDataset('digits/train', 1,437 images of 8×8×1, 10 classes)
        >>> test.images.shape, test.labels.shape
        ((360, 8, 8, 1), (360,))
    """
    source = dataset_source(name) if isinstance(name, str) else name
    if source.extra:
        return load_digits(source, directory)
    _, contents = find_or_fetch(source, directory=directory, cache=cache, download=download, progress=progress)
    return read_splits(source, contents)


def get_dataset(
    name: str | Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    into: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Location:
    """Make sure that a data set is on this machine, complete and verified.

    Files found on this machine stay where they are; downloaded ones are stored in the cache.

    Args:
        name, directory, cache, download, progress: As `load_dataset`.
        into: Store the files in a subdirectory of this directory (named after the data set), copied from this machine
            or downloaded.

    Returns:
        Where the data set is.

    Raises:
        DataError, MissingDependency: As `load_dataset`.
    """
    source = dataset_source(name) if isinstance(name, str) else name
    if source.extra:
        load_digits(source, directory or into)
        location = find_dataset(source)
        assert location is not None
        return location
    if into:
        return fetch_into(source, into, progress)
    location, _ = find_or_fetch(source, directory=directory, cache=cache, download=download, progress=progress)
    return location


def find_dataset(name: str | Source) -> Location | None:
    """Where a data set is on this machine, or None.

    This is quick because only the names of the files are checked, not their contents.
    """
    source = dataset_source(name) if isinstance(name, str) else name
    if not source.extra:
        return find_locally(source)
    package = importlib.util.find_spec(PACKAGE)
    return Location(Path(package.origin).parent, "scikit-learn") if package and package.origin else None
