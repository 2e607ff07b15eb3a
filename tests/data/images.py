"""Folders of small images, made as one needs them."""

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
