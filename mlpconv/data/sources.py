"""The data sets known by name: what they are, where they are looked for, and loading them.

A data set's files are looked for in the directory given (an argument, or MLPCONV_DATA), in the cache, where Debian's
package puts them, at their web addresses, and in Debian's package itself. Whatever the place, their unzipped contents
are verified by SHA-256 at every load.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np

from mlpconv.data.dataset import ImageDataset, Splits
from mlpconv.data.digits import PACKAGE, load_digits
from mlpconv.data.fetch import Progress
from mlpconv.data.files import Location, Source, SourceFile
from mlpconv.data.find import bring, find, look
from mlpconv.data.idx import parse_idx
from mlpconv.errors import DataError, unknown

_SOURCES = {
    source.name: source
    for source in (
        Source(
            name="fashion-mnist",
            title="Fashion-MNIST: photographs of clothes and shoes, greyscale",
            class_names=(
                "t-shirt",
                "trouser",
                "pullover",
                "dress",
                "coat",
                "sandal",
                "shirt",
                "sneaker",
                "bag",
                "ankle boot",
            ),
            image_shape=(28, 28, 1),
            counts=(60_000, 10_000),
            licence="MIT",
            citation=(
                "Xiao, Rasul, Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
                "Algorithms, 2017, arXiv:1708.07747"
            ),
            files=(
                SourceFile(
                    role="train_images",
                    name="train-images-idx3-ubyte",
                    size=47_040_016,
                    sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                ),
                SourceFile(
                    role="train_labels",
                    name="train-labels-idx1-ubyte",
                    size=60_008,
                    sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                ),
                SourceFile(
                    role="test_images",
                    name="t10k-images-idx3-ubyte",
                    size=7_840_016,
                    sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                ),
                SourceFile(
                    role="test_labels",
                    name="t10k-labels-idx1-ubyte",
                    size=10_008,
                    sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
            ),
            urls=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            ),
            debian_package="dataset-fashion-mnist",
            debian_directory="/usr/share/datasets/fashion-mnist",
        ),
        Source(
            name="digits",
            title="Digits: small handwritten digits that come with scikit-learn, greyscale",
            class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
            image_shape=(8, 8, 1),
            counts=(1_437, 360),
            licence="CC BY 4.0",
            citation=(
                "Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
                "doi:10.24432/C50P49"
            ),
            extra="digits",
        ),
    )
}


def list_datasets() -> list[str]:
    """The names of the known data sets."""
    return list(_SOURCES)


def dataset_source(name: str) -> Source:
    """What is known of a data set. Raises DataError for an unknown name, with the nearest."""
    if name not in _SOURCES:
        raise DataError(unknown("data set", name, _SOURCES))
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
    return Splits(_split(source, contents, "train"), _split(source, contents, "test"))


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


def _split(source: Source, contents: dict[str, bytearray], split: str) -> ImageDataset:
    name = f"{source.name}/{split}"
    images = parse_idx(contents[f"{split}_images"], f"{name} images", expect_ndim=3)
    labels = parse_idx(contents[f"{split}_labels"], f"{name} labels", expect_ndim=1)
    return ImageDataset(images[..., np.newaxis], labels.astype(np.int64), source.class_names, name)
