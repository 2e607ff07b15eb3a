"""Folders of small images, made as one needs them."""

import os

import numpy as np
from PIL import Image


def pixels(seed, height=8, width=8, channels=3):
    """uint8 (height, width, channels) that differ from seed to seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def put(path, image=0, **options):
    """Write an image file, its folders too. image: pixels, a Pillow image, or a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = pixels(image) if isinstance(image, int) else image
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


def classes(root, counts, start=0):
    """``root/CLASS/000.png``: as many as ``counts`` says of each class, no two alike."""
    seed = start
    for name, count in counts.items():
        for index in range(count):
            put(root / name / f"{index:03}.png", seed)
            seed += 1
    return root


def odd_folder(root):
    """A folder with every oddity in it, and the reason that is given for each that cannot be used."""
    classes(root, {"a": 12, "b": 12})
    (root / "a" / "notes.txt").write_text("not an image")
    (root / "a" / "empty.jpg").touch()
    whole = put(root / "whole.jpg", pixels(7, 64, 64)).read_bytes()
    (root / "whole.jpg").unlink()
    (root / "b" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "nothing").mkdir()
    (root / "text only").mkdir()
    (root / "text only" / "a.txt").write_text("x")
    (root / "b" / "loop").symlink_to("loop")
    (root / "b" / "back").symlink_to(root / "b", target_is_directory=True)
    (root / "b" / "gone.png").symlink_to("nowhere.png")
    outside = put(root.parent / "outside.png", 1000)
    (root / "b" / "out.png").symlink_to(outside)
    os.mkfifo(root / "b" / "pipe.png")
    put(root / "stray.png", 1001)
    # Far more pixels than are safe, in a few bytes.
    Image.new("1", (30_000, 30_000)).save(root / "a" / "bomb.png")
    return {
        "a/notes.txt": "not an image",
        "a/empty.jpg": "an empty file",
        "a/bomb.png": "refused before decoding",
        "b/cut.jpg": "cannot be decoded",
        "nothing": "without files",
        "text only/a.txt": "not an image",
        "text only": "an empty class",
        "b/loop": "a link in a circle",
        "b/back": "a link to a folder that is read already",
        "b/gone.png": "a link to nothing",
        "b/out.png": "a link out of the folder",
        "b/pipe.png": "a pipe",
        "stray.png": "beside the classes' folders",
    }


def odd_images(folder):
    """Images of every kind that must be converted, in a class's folder: how many."""
    picture = Image.fromarray(pixels(2000, 12, 16))
    turned = Image.Exif()
    turned[0x0112] = 6
    put(folder / "cmyk.jpg", picture.convert("CMYK"))
    put(folder / "deep.png", pixels(2001, 12, 16)[..., 0].astype(np.uint16) << 8)
    put(folder / "palette.png", picture.quantize(16))
    put(folder / "alpha.png", picture.convert("RGBA"))
    put(folder / "moving.gif", picture, save_all=True, append_images=[Image.fromarray(pixels(2002, 12, 16))])
    put(folder / "turned.jpg", picture, exif=turned)
    return 6
