"""The data sets known by name: what they are, where they are looked for, and loading them.

A data set's files are looked for in the directory given (an argument, or MLPCONV_DATA), in the cache, where Debian's
package puts them, at their web addresses, and in Debian's package itself. Whatever the place, they are verified at
every load by the checksums that are published, and by their structure and counts.
"""

import importlib.util
import os
from pathlib import Path

from mlpconv.data.dataset import Splits
from mlpconv.data.known.definitions import KNOWN
from mlpconv.data.known.descriptors import Location, Source
from mlpconv.data.known.digits import PACKAGE, load_digits
from mlpconv.data.known.download import Progress
from mlpconv.data.known.locate import bring, find, look
from mlpconv.data.known.readers import parse
from mlpconv.errors import DataError, unknown

_SOURCES = {source.name: source for source in KNOWN}


def list_datasets() -> list[str]:
    """The names of the known data sets."""
    return list(_SOURCES)


def dataset_source(name: str) -> Source:
    """What is known of a data set. Raises DataError for an unknown name, with the nearest."""
    if name not in _SOURCES:
        raise DataError(f"{unknown('data set', name, _SOURCES)}; one's own: a folder of images or a CSV file")
    return _SOURCES[name]


def load_dataset(
    name: str | Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Splits:
    """Load a data set, fetching it first where it is nowhere on this machine.

    Args:
        name: one of `list_datasets()`, or a Source of your own.
        directory: holds the files, or a directory of the data set's name with them; nothing else is then tried.
            Default: the environment's MLPCONV_DATA, else no such directory.
        cache: the cache to use (see `cache_directory`).
        download: False looks on this machine only.
        progress: called during downloads with the file's name, the bytes so far and their number (0: not known).

    Returns:
        Splits(train, test) of ImageDataset: images uint8 (N, H, W, C), labels int64 (N,).

    Raises:
        DataError: an unknown name, files missing from the directory given or not as published, or nothing found
            anywhere: the message then lists each place tried, and the ways to get the files by hand.
        MissingDependency: the data set comes with a package that is not installed.
    """
    source = dataset_source(name) if isinstance(name, str) else name
    if source.extra:
        return load_digits(source, directory)
    _, contents = find(source, directory=directory, cache=cache, download=download, progress=progress)
    return parse(source, contents)


def get_dataset(
    name: str | Source,
    *,
    directory: str | os.PathLike[str] | None = None,
    into: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Location:
    """Make sure that a data set is on this machine, whole and verified, and say where.

    Files found on this machine stay where they are; fetched ones go into the cache. With `into`, that directory (one of
    the data set's name in it) shall have them, copied from this machine or fetched. Other arguments, and errors, are
    those of `load_dataset`.
    """
    source = dataset_source(name) if isinstance(name, str) else name
    if source.extra:
        load_digits(source, directory or into)
        location = find_dataset(source)
        assert location is not None
        return location
    if into:
        return bring(source, into, progress)
    return find(source, directory=directory, cache=cache, download=download, progress=progress)[0]


def find_dataset(name: str | Source) -> Location | None:
    """Where on this machine a data set stands, None where it does not; quick: its contents are not verified."""
    source = dataset_source(name) if isinstance(name, str) else name
    if not source.extra:
        return look(source)
    package = importlib.util.find_spec(PACKAGE)
    return Location(Path(package.origin).parent, "scikit-learn") if package and package.origin else None
