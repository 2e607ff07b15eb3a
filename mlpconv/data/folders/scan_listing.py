"""Scan the files of a listing, and name those that cannot be used."""

import os

import numpy as np

from mlpconv.arch.preprocess import MAX_PIXELS
from mlpconv.data.folders.cache import folders_directory
from mlpconv.data.folders.listed import Listing, Problem
from mlpconv.data.folders.scan import Progress, ScannedFiles, scan
from mlpconv.formatting import printable


def scan_listing(
    listing: Listing,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    compare: bool = False,
) -> ScannedFiles:
    """Scan the files of a listing. A file whose contents are not those that the listing records has an error.

    Args:
        listing: The files.
        cache: The cache directory (see `cache_directory`).
        progress: Called as files are read.
        max_pixels: The most pixels that an image may have.
        compare: Whether to prepare for finding copies.
    """
    scanned = scan(
        listing.root, listing.files, folders_directory(cache), progress, max_pixels=max_pixels, compare=compare
    )
    for index, digest in enumerate(listing.digests):
        if digest and not scanned.error[index] and scanned.digest[index].tobytes() != digest:
            scanned.error[index] = "its contents have changed since the list was written"
    return scanned


def file_problems(listing: Listing, scanned: ScannedFiles) -> list[Problem]:
    """The files of a listing that cannot be used."""
    bad = np.flatnonzero(scanned.error != "").tolist()
    return [Problem(printable(listing.files[index]), str(scanned.error[index])) for index in bad]
