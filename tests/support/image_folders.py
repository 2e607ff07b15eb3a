"""Create folders of small images, and read what was made of them."""

import csv
import os

import numpy as np
from PIL import Image

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.folders.folder import scan_folder

COLOUR = Preprocess(8, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), source_size=(8, 8))


def random_pixels(seed, height=8, width=8, channels=3):
    """uint8 (height, width, channels) that differ from seed to seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save_image(path, image=0, **options):
    """Write an image file, its folders too. image: pixels, a Pillow image, or a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = random_pixels(image) if isinstance(image, int) else image
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


def create_classes(root, counts, start=0):
    """``root/CLASS/000.png``: ``counts`` gives the number of images of each class; no two are equal."""
    seed = start
    for name, count in counts.items():
        for index in range(count):
            save_image(root / name / f"{index:03}.png", seed)
            seed += 1
    return root


def create_unusable_files(root):
    """A folder with files that cannot be used, and the reason expected for each."""
    create_classes(root, {"a": 12, "b": 12})
    (root / "a" / "notes.txt").write_text("not an image")
    (root / "a" / "empty.jpg").touch()
    whole = save_image(root / "whole.jpg", random_pixels(7, 64, 64)).read_bytes()
    (root / "whole.jpg").unlink()
    (root / "b" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "nothing").mkdir()
    (root / "text only").mkdir()
    (root / "text only" / "a.txt").write_text("x")
    (root / "b" / "loop").symlink_to("loop")
    (root / "b" / "back").symlink_to(root / "b", target_is_directory=True)
    (root / "b" / "gone.png").symlink_to("nowhere.png")
    outside = save_image(root.parent / "outside.png", 1000)
    (root / "b" / "out.png").symlink_to(outside)
    os.mkfifo(root / "b" / "pipe.png")
    save_image(root / "stray.png", 1001)
    # A decompression bomb.
    Image.new("1", (30_000, 30_000)).save(root / "a" / "bomb.png")
    return {
        "a/notes.txt": "not an image",
        "a/empty.jpg": "an empty file",
        "a/bomb.png": "refused before decoding",
        "b/cut.jpg": "cannot be decoded",
        "nothing": "without files",
        "text only/a.txt": "not an image",
        "text only": "an empty class",
        "b/loop": "a circular link",
        "b/back": "a link to a folder that was already read",
        "b/gone.png": "a broken link",
        "b/out.png": "a link out of the folder",
        "b/pipe.png": "not a regular file",
        "stray.png": "not inside the folder of a class",
    }


def create_images_to_convert(folder):
    """Images of every format that needs conversion, in the folder of a class; returns their number."""
    picture = Image.fromarray(random_pixels(2000, 12, 16))
    turned = Image.Exif()
    turned[0x0112] = 6
    save_image(folder / "cmyk.jpg", picture.convert("CMYK"))
    save_image(folder / "deep.png", random_pixels(2001, 12, 16)[..., 0].astype(np.uint16) << 8)
    save_image(folder / "palette.png", picture.quantize(16))
    save_image(folder / "alpha.png", picture.convert("RGBA"))
    save_image(
        folder / "moving.gif", picture, save_all=True, append_images=[Image.fromarray(random_pixels(2002, 12, 16))]
    )
    save_image(folder / "turned.jpg", picture, exif=turned)
    return 6


def stripes(root, counts, seed=0):
    """``root/CLASS/0.png`` …: 12×12 colour images, of the first class with stripes across, of the others down."""
    draw = np.random.default_rng(seed)
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = draw.integers(0, 100, (12, 12, 3), np.uint8)
            pixels[(slice(None, None, 2),) if number == 0 else (slice(None), slice(None, None, number + 1))] += 120
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def lines_of(path):
    """The lines of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def load(root, size=8, fit="squash", **options):
    """The images of a folder, decoded in 8×8 pixels."""
    folder = scan_folder(root, **options)
    return folder.load(folder.preprocess(size, fit))


def used(loaded):
    """(path, class, split) of every image, in order."""
    folder = loaded.folder
    return [
        (folder.files[row], folder.class_names[folder.labels[row]], int(folder.splits[row]))
        for row in loaded.rows.tolist()
    ]
