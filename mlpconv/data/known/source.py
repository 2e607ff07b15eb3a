"""The definition of a known data set: what it is, which files it has, and where they are published."""

from pathlib import Path
from typing import NamedTuple

import msgspec


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a data set.

    Its contents are compared with the published checksum: ``sha256`` if there is one, else ``md5``. If neither applies,
    only the size and the number of images and labels are checked.
    """

    role: str
    """What the reader calls the file: "train_images", "test_labels", "train_1"."""
    name: str
    """File name, without `.gz`."""
    size: int
    """Bytes of the uncompressed contents."""
    sha256: str = ""
    """SHA-256 of the uncompressed contents, in hex."""
    md5: str = ""
    """MD5 of the file as published, in hex; not applicable to a gzipped file that was unzipped."""
    zipped: bool = True
    """Whether it is an IDX file published as `.gz`; it is then also accepted uncompressed."""

    @property
    def published_name(self) -> str:
        """The name under which the file is published."""
        return f"{self.name}.gz" if self.zipped else self.name

    @property
    def max_published_size(self) -> int:
        """Upper limit of the published file in bytes; incompressible contents grow slightly when compressed."""
        return self.size + self.size // 100 + 65536


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """A tar or zip file that contains the files of a data set."""

    url: str
    size: int
    """Upper limit of its size in bytes."""
    md5: str
    """MD5 of the archive, in hex."""
    prefix: str
    """The directory inside the archive that contains the files."""

    @property
    def name(self) -> str:
        """The file name of the archive."""
        return self.url.rpartition("/")[2]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The definition of a known data set."""

    name: str
    title: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(H, W, C)."""
    counts: tuple[int, int]
    """Number of images for training and for testing."""
    licence: str
    citation: str
    format: str = "idx"
    """The function that reads the files: a key of ``mlpconv.data.known.readers.READERS``."""
    files: tuple[SourceFile, ...] = ()
    """Empty for a data set that comes with a Python package (see `extra`)."""
    urls: tuple[str, ...] = ()
    """URLs of directories that contain the files: the official one first, then mirrors."""
    archive: Archive | None = None
    """An archive of the files, for data sets that are not published file by file."""
    debian_package: str = ""
    """The Debian package that contains the files."""
    debian_directory: str = ""
    """Where that package installs them."""
    extra: str = ""
    """The extra of mlpconv that installs the Python package containing the data set, such as "digits"."""

    @property
    def published_names(self) -> str:
        """The names of all files, for messages."""
        return ", ".join(file.published_name for file in self.files)


class Location(NamedTuple):
    """Where a data set is on this machine.

    Attributes:
        path: The directory that contains its files.
        origin: Where they came from, for messages: "the cache", a URL, a Debian package.
    """

    path: Path
    origin: str
