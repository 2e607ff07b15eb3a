"""The unlabelled pictures from which ``tools/distil.py`` makes the start weights of ``nin_photo``.

They come from packages of Debian and PyPI that may be used and changed, and from the training images of CIFAR-10.
Labels are never read. `tuxpaint-stamps-default` and `gcompris-qt-data` are left out on purpose: accuracy is measured on
them (``mlpconv bench photos``).
"""

import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 224
"""The side in pixels of the pictures that the teacher sees."""
IMAGES = (".jpg", ".jpeg", ".png", ".webp")


class Source(NamedTuple):
    """A package or archive with pictures."""

    name: str
    kind: str
    """"deb", "pypi" or "cifar10"."""
    license: str
    pictures: int
    """How many pictures or crops to take."""
    crops: bool = False
    """Whether to take many random crops of each file, instead of each file as a whole once."""
    least: int = 64
    """The shorter side in pixels that a file must have."""
    folder: str = ""
    """The part of the package to take; empty for all of it."""


SOURCES = (
    Source("cifar10", "cifar10", "the images of CIFAR-10 (Krizhevsky 2009), training images only", 24_000, least=32),
    Source("gnome-backgrounds", "deb", "CC-BY-SA-3.0 and GPL-2+", 1_400, crops=True),
    Source("mate-backgrounds", "deb", "GPL-2+ and CC-BY-SA-4.0", 2_600, crops=True),
    Source("plasma-workspace-wallpapers", "deb", "GPL-2+", 2_000, crops=True, least=600),
    Source("ukui-wallpapers", "deb", "CC-BY-SA-3.0", 1_400, crops=True, least=600),
    Source("lomiri-wallpapers", "deb", "CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0 and CC0-1.0", 100, crops=True),
    Source("palapeli-data", "deb", "GPL-2+ and CC0", 600, crops=True, least=300),
    Source("kalzium-data", "deb", "GPL-2+, LGPL-2.1+, GFDL-1.2 and CC0", 400),
    Source("openclipart-png", "deb", "public domain", 5_000),
    Source("oxygen-icon-theme", "deb", "LGPL-3+", 600, folder="/128x128/"),
    Source("openboard-common", "deb", "GPL-3+, CC-BY-SA-3.0, Apache-2.0 and public domain", 150),
    Source("scikit-image", "pypi", "BSD-3-Clause and public domain", 1_000, crops=True, folder="skimage/data/"),
    Source("scikit-learn", "pypi", "CC-BY-2.0", 150, crops=True, folder="/images/"),
)


def fetch(source: Source, folder: Path, cifar10: Path) -> None:
    """Download and unpack a source into ``folder``, unless it is there."""
    if folder.exists():
        return
    print(f"fetching {source.name}", flush=True)
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    if source.kind == "cifar10":
        with tarfile.open(cifar10) as archive:
            archive.extractall(partial, filter="data")
    elif source.kind == "deb":
        subprocess.run(["apt-get", "download", "-q", source.name], cwd=partial, check=True)
        for package in partial.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, partial], check=True)
            package.unlink()
    else:
        command = ["pip", "download", "--quiet", "--no-deps", "--dest", str(partial), source.name]
        subprocess.run(command, check=True)
        for package in partial.glob("*.whl"):
            with zipfile.ZipFile(package) as wheel:
                wheel.extractall(partial)
            package.unlink()
    partial.rename(folder)


def files(source: Source, folder: Path) -> list[Path]:
    """The files of a source that are large enough, in a fixed order that does not depend on folders of classes."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGES and path.is_file() and not path.is_symlink():
            name = str(path.relative_to(folder))
            if source.folder in f"/{name}" and not (source.kind == "cifar10" and not name.startswith("train")):
                found[name] = path
    names = sorted(found)
    np.random.default_rng(0).shuffle(names)
    return [found[name] for name in names if _is_large(found[name], source.least)]


def _is_large(path: Path, least: int) -> bool:
    try:
        with Image.open(path) as image:
            return min(image.size) >= least
    except (OSError, Image.DecompressionBombError):
        return False


def pictures(source: Source, folder: Path) -> Iterator[tuple[Path, Image.Image]]:
    """The pictures of a source: each file and a square RGB image of ``SIDE``, or smaller if the file is smaller."""
    random = np.random.default_rng(1)
    paths = files(source, folder)
    each = -(-source.pictures // len(paths)) if source.crops else 1
    taken = 0
    for path in paths:
        try:
            image = on_white(Image.open(path))
        except OSError:
            continue
        for _ in range(min(each, source.pictures - taken)):
            yield path, _crop(image, random) if source.crops else _square(image, random)
            taken += 1
        if taken == source.pictures:
            return


def on_white(image: Image.Image) -> Image.Image:
    """A picture in RGB; transparent pixels are white, as mlpconv reads them. No side is above 2,048 pixels."""
    image.draft("RGB", (2048, 2048))
    image.thumbnail((2048, 2048), Image.Resampling.BOX)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A random part of a picture, of 4 % to 100 % of the area of the largest square."""
    largest = min(image.size)
    side = max(int(largest * np.exp(random.uniform(np.log(0.2), 0))), min(largest, 96))
    left = int(random.integers(image.width - side + 1))
    top = int(random.integers(image.height - side + 1))
    return _sized(image.crop((left, top, left + side, top + side)))


def _square(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The whole picture: squashed, or with white borders around it, half of the time each."""
    if image.width == image.height or random.random() < 0.5:
        return _sized(image)
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return _sized(square)


def _sized(image: Image.Image) -> Image.Image:
    side = min(SIDE, max(image.size))
    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)
