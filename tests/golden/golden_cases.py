"""The trainings whose weights are recorded: `python golden_cases.py NAME DIRECTORY [BACKEND]` executes one.

Each writes one or more run directories into DIRECTORY. The recipes are complete (optimizer, schedule, augmentation,
initializer, smoothing, guard) with few images and steps: 50 steps of small batches. The images are generated from
integers, so that no data set is needed.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import golden_recorded as recorded
import numpy as np

import mlpconv

Case = Callable[[Path, str], None]


def drawn(count: int, *, classes: int, side: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, side, side, channels) of shifted patterns, one per class, with noise; and their labels."""
    patterns = np.random.default_rng(0).integers(0, 160, (classes, side // 4, side // 4, channels))
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(count) % classes)
    images = patterns[labels].repeat(4, axis=1).repeat(4, axis=2) + draw.integers(0, 96, (count, side, side, channels))
    moved = [np.roll(image, draw.integers(-2, 3, 2), (0, 1)) for image in images]
    return np.stack(moved).astype(np.uint8), labels.astype(np.int64)


def grey(count: int) -> mlpconv.Splits:
    """``count`` training and 40 test images with the shape of Fashion-MNIST's."""
    names = tuple(f"class {index}" for index in range(10))
    train, test = (
        mlpconv.ImageDataset(*drawn(each, classes=10, side=28, channels=1, seed=seed), names, f"drawn/{name}")
        for name, each, seed in (("train", count, 1), ("test", 40, 2))
    )
    return mlpconv.Splits(train, test)


def photos(root: Path, counts: dict[str, int], *, side: int, channels: int) -> None:
    """``root/CLASS/000.png``: ``counts`` gives the number of images of each class."""
    from PIL import Image

    total = max(counts.values()) * len(counts)
    images, labels = drawn(total, classes=len(counts), side=side, channels=channels, seed=3)
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index, image in enumerate(images[labels == label][:count]):
            Image.fromarray(image if channels == 3 else image[..., 0]).save(root / name / f"{index:03}.png")


def steps(recipe: str, batch_size: int, count: int, epochs: int, **changes: object) -> Case:
    """``epochs`` of ``count`` steps of a named recipe, through the Python interface."""

    def case(directory: Path, backend: str) -> None:
        fields = {"batch_size": batch_size, "epochs": 1, "min_steps": epochs * count, "seed": 7, "precision": "float32"}
        mlpconv.train(
            recipe, data=grey(count * batch_size), out=directory / "run", backend=backend, device="cpu",
            **{**fields, **changes},
        )  # fmt: skip

    return case


def own(epochs: int) -> Case:
    """A folder of images on the command line, with the recipe and the network chosen for it."""

    def case(directory: Path, backend: str) -> None:
        photos(directory / "photos", {"ant": 52, "bee": 39, "crab": 20}, side=28, channels=3)
        recorded.command(
            directory, "train", "--data", "photos", "--epochs", epochs, "--seed", 7, "--precision", "float32",
            "--device", "cpu", "--backend", backend, "--out", "run", "--json",
        )  # fmt: skip

    return case


def going_on(directory: Path, backend: str) -> None:
    """Commands that start from the recorded run directories; each writes a separate run directory."""
    shutil.copytree(recorded.RUNS, directory, dirs_exist_ok=True)
    photos(directory / "photos", {"ant": 30, "bee": 20, "crab": 20}, side=8, channels=1)
    shutil.copytree(directory / "finished", directory / "longer")
    # The same network for three classes.
    tiny = (directory / "tiny.json").read_text(encoding="utf-8")
    (directory / "three.json").write_text(tiny.replace('"out_channels": 10', '"out_channels": 3'), encoding="utf-8")
    train = ("train", "--device", "cpu", "--backend", backend, "--json")
    for words in (
        ("--out", "stopped", "--resume"),
        ("--out", "longer", "--resume-with", "epochs=3"),
        ("--from", "finished", "--out", "again"),
        ("--from", "finished", "--weights", "finished", "--epochs", 1, "--out", "weights"),
        ("--data", "photos", "--model", "three.json", "--pretrained", "finished", "--epochs", 2, "--seed", 7,
         "--set", "fit_head=false", "--lr", 0.002, "--batch-size", 128, "--precision", "float32", "--out",
         "pretrained"),
    ):  # fmt: skip
        recorded.command(directory, *train, *words)


def more_in_bfloat16(directory: Path, backend: str) -> None:
    """The recorded run in bfloat16 for more epochs."""
    shutil.copytree(recorded.RUNS, directory, dirs_exist_ok=True)
    recorded.command(
        directory, "train", "--device", "cpu", "--backend", backend, "--out", "bfloat16", "--resume-with", "epochs=5",
        "--json",
    )  # fmt: skip


CASES: dict[str, tuple[Case, ...]] = {
    "quick": (steps("quick", 8, 12, 1),),
    "study": (steps("study", 8, 25, 2), steps("study", 8, 5, 1)),
    "study-bfloat16": (
        steps("study", 8, 25, 2, precision="bfloat16"),
        steps("study", 8, 5, 1, precision="bfloat16"),
        more_in_bfloat16,
    ),
    "fast": (steps("fast", 32, 25, 2), steps("fast", 32, 5, 1)),
    "d2l": (
        steps("d2l", 8, 25, 2, image_size=96, on_trouble="repair"),
        steps("d2l", 8, 5, 1, image_size=96, on_trouble="repair"),
    ),
    "d2l-148": (steps("d2l", 4, 4, 1, image_size=148, on_trouble="repair"),),
    "own": (own(5), own(1)),
    "going-on": (going_on,),
}
"""Each recipe for 50 steps, and for a few, after which rounding errors are small; trainings from recorded runs.

At 148 pixels, the convolutions of the second block are tall enough for the fast FIR algorithm in PyTorch."""

RUNS = dict.fromkeys(CASES, ("0/run", "1/run")) | {
    "study-bfloat16": ("0/run", "1/run", "2/bfloat16"),
    "quick": ("0/run",),
    "d2l-148": ("0/run",),
    "going-on": tuple(f"0/{name}" for name in ("stopped", "longer", "again", "weights", "pretrained")),
}
"""Where their run directories are."""


def main(name: str, directory: str, backend: str = "torch") -> None:
    for number, case in enumerate(CASES[name]):
        place = Path(directory, str(number))
        place.mkdir(parents=True)
        case(place, backend)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except mlpconv.MlpconvError as error:
        sys.exit(f"error: {error}")
