"""The memory that a file of weights may ask for, so that a small file with a giant content is refused and not read."""

from collections.abc import Iterable
from math import prod
from pathlib import Path

from mlpconv.arch.network import Network
from mlpconv.backends.weights import weight_shapes
from mlpconv.convert.recognize import read_head, zip_entries
from mlpconv.errors import WeightsError

NETWORK_FACTOR, NETWORK_EXTRA = 32, 256 << 20
"""The limit for a file whose network is known: a multiple of the bytes of the network's weights, for what a checkpoint
adds, plus a number of bytes for everything else."""
FILE_FACTOR, FILE_EXTRA = 8, 64 << 20
"""The limit for a file whose network is not known: a multiple of its size, for types of a byte, plus a number of
bytes."""


class Budget:
    """The bytes that the content of a file may take, and how many it has taken.

    Args:
        path: The file.
        most: The bytes.
        compared: What the bytes are compared with in messages: "the weights of nin 7,968,664".
    """

    def __init__(self, path: Path, most: int, compared: str) -> None:
        self.path, self.most, self._compared, self.taken = path, most, compared, 0

    @classmethod
    def of_network(cls, path: Path, network: Network) -> "Budget":
        """The budget of a file with the weights of a network."""
        weights = sum(4 * prod(shape) for shape in weight_shapes(network).values())
        name = network.name or "the network"
        return cls(path, NETWORK_FACTOR * weights + NETWORK_EXTRA, f"the weights of {name} {weights:,}")

    @classmethod
    def of_file(cls, path: Path) -> "Budget":
        """The budget of a file with weights of any network."""
        size = path.stat().st_size
        return cls(path, FILE_FACTOR * size + FILE_EXTRA, f"the file {size:,}")

    def check_file(self) -> None:
        """Refuse a file that is too large, or a zip archive whose content is.

        Raises:
            WeightsError: It is.
        """
        if not self.path.is_file():
            return
        self._check("has", self.path.stat().st_size)
        entries = zip_entries(self.path, read_head(self.path))
        self._check("contains", sum(entry.file_size for entry in entries))

    def take(self, arrays: Iterable[tuple[int, int]]) -> None:
        """Take the memory of arrays, before they are made.

        Args:
            arrays: The number of values of each, and the bytes of a value.

        Raises:
            WeightsError: It is more than is left.
        """
        # As float32, to which every array is converted, or as they are.
        self.taken += sum(count * max(size, 4) for count, size in arrays)
        self._check("has arrays of", self.taken)

    def _check(self, has: str, size: int) -> None:
        if size > self.most:
            raise WeightsError(
                f"{self.path}: {has} {size:,} bytes, and {self._compared}; check --model, or save only the weights in "
                "the program that made it"
            )
