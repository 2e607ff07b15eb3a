"""Measure training on few photographs against a pretrained network with a linear classifier.

    python tools/measure_photos.py --cifar10 cifar10-jpeg.tar.xz --work photos --splits 5

Four folders: children's stamps (Debian's tuxpaint-stamps-default), photographs of GCompris (gcompris-qt-data), and 500
and 2,000 pictures of CIFAR-10, tested on 2,000 of its test images. For each split, a run of `mlpconv train --data` with
all defaults, in a separate process, and logistic regression on the features of EfficientNet-Lite0, on the same images.
Results are kept in --out after every run; finished ones are not repeated.
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from start_weights import load_teacher
from torch import nn

SIDE = 224
"""The side in pixels of the pictures that the pretrained network sees."""
TEST_SHARE = 0.2
CIFAR10_IMAGES = {"cifar10-500": 50, "cifar10-2000": 200}
"""Images of each class of CIFAR-10 to learn from."""
CIFAR10_TEST = 200
"""Images of each class to test on."""
STAMPS = {
    "birds": "animals/birds", "fish": "animals/(fish|shellfish|mammals/aquatic)", "mammals": "animals/ma(mm|rs)",
    "fruit": "food/(fruit|nuts)", "vegetables": "food/vegetables", "flowers": "plants/flowers", "trees": "plants",
    "vehicles": "(vehicles|military/vehicles)", "signs": "town/roadsigns", "clothes": "clothes",
    "tools": "household/(tools|arttools)", "household": "household",
}  # fmt: skip
"""The folders of each class: the first pattern that fits counts. Drawings are left out."""
GCOMPRIS = {
    "fish": "categorization/resource/images/fishes", "monuments": "(categorization/.*/monuments|explore_monuments)",
    "tools": "categorization/resource/images/tools", "energy": "categorization/resource/images/renewable",
    "animals": "explore_(farm|world)_animals/resource/animals", "things": "categorization/resource/images/others",
}  # fmt: skip


def main() -> None:
    """Measure, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cifar10", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True, help="Folder for downloads and runs.")
    arguments.add_argument("--splits", type=int, default=5)
    arguments.add_argument("--only", nargs="*", help="Names of folders.")
    arguments.add_argument("--teacher", action=argparse.BooleanOptionalAction, default=True)
    arguments.add_argument("--name", default="defaults", help="Name of the settings in the results.")
    arguments.add_argument("--out", type=Path, default=Path("photos.json"))
    arguments.add_argument("--options", default="", help="Options of mlpconv train, in one string.")
    options = arguments.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name, files in folders(options.work, options.cifar10).items():
        if options.only and name not in options.only:
            continue
        for split in range(options.splits):
            listing = options.work / "folders" / f"{name}-{split}.csv"
            rows = draw(files, split, CIFAR10_IMAGES.get(name, 0))
            write_listing(listing, rows)
            found = results.setdefault(name, {}).setdefault(str(split), {})
            if options.teacher and "teacher" not in found:
                found["teacher"] = teacher_accuracy(rows, options.work)
            if options.name not in found:
                found[options.name] = train(listing, options.options.split())
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, split, json.dumps(found), flush=True)
    for name, splits in results.items():
        kinds = dict.fromkeys(kind for found in splits.values() for kind in found)
        for kind in kinds:
            values = [found[kind] for found in splits.values() if kind in found]
            accuracies = [value["accuracy"] for value in values]
            seconds = mean(value["seconds"] for value in values)
            shown = " ".join(f"{value:.3f}" for value in accuracies)
            print(f"{name:10} {kind:14} {mean(accuracies):.3f}  ({shown})  {seconds:.0f} s")


def folders(work: Path, cifar10: Path) -> dict[str, dict[str, list[Path]]]:
    """The files of each class of each folder; CIFAR-10 has classes "test/CLASS" as well."""
    fetched = work / "pictures"
    for name in ("tuxpaint-stamps-default", "gcompris-qt-data"):
        fetch(name, fetched / name)
    stamps = fetched / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    gcompris = work / "gcompris"
    if not gcompris.exists():
        for file in sorted((fetched / "gcompris-qt-data").rglob("*.rcc")):
            for name, content in resources(file.read_bytes()):
                if name.endswith((".webp", ".jpg", ".png")):
                    target = gcompris / name.strip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
    drawings = [path for path in sorted(stamps.rglob("*.[pj][np]g")) if "cartoon" not in str(path)]
    cifar = fetched / "cifar10"
    if not cifar.exists():
        with tarfile.open(cifar10) as archive:
            archive.extractall(cifar, filter="data")
    of_cifar = {
        f"{split}/{folder.name}": sorted(folder.iterdir())
        for split in ("train", "test")
        for folder in sorted((cifar / split).iterdir())
    }
    return {
        "stamps": _copied(work / "folders/stamps", _classes(stamps, drawings, STAMPS)),
        "gcompris": _copied(
            work / "folders/gcompris",
            _classes(gcompris / "gcompris/src/activities", sorted(gcompris.rglob("*.*")), GCOMPRIS),
        ),
        **dict.fromkeys(CIFAR10_IMAGES, of_cifar),
    }


def fetch(name: str, folder: Path) -> None:
    """Download and unpack a package of Debian into ``folder``, unless it is there."""
    if folder.exists():
        return
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", name], cwd=partial, check=True)
    for package in partial.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, partial], check=True)
        package.unlink()
    partial.rename(folder)


def on_white(image: Image.Image) -> Image.Image:
    """A picture in RGB; transparent pixels are white, as mlpconv reads them. No side is above 2,048 pixels."""
    image.draft("RGB", (2048, 2048))
    image.thumbnail((2048, 2048), Image.Resampling.BOX)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _classes(root: Path, paths: list[Path], patterns: dict[str, str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {name: [] for name in patterns}
    for path in paths:
        place = path.relative_to(root).parent.as_posix() if path.is_relative_to(root) else ""
        name = next((name for name, pattern in patterns.items() if re.match(pattern, place)), None)
        if name:
            found[name].append(path)
    return found


def _copied(root: Path, files: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The files in a folder for each class, as people have them."""
    copies = {
        name: [root / name / f"{number:02}-{path.name}" for number, path in enumerate(paths)]
        for name, paths in files.items()
    }
    if not root.exists():
        partial = root.with_suffix(".partial")
        for name, paths in files.items():
            for path, copy in zip(paths, copies[name], strict=True):
                target = partial / copy.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        partial.rename(root)
    return copies


def draw(files: dict[str, list[Path]], split: int, each: int) -> list[tuple[Path, str, str]]:
    """(file, class, "train" or "test"): a fifth of each class is tested. CIFAR-10 has its own test images, and ``each``
    of a class are learned."""
    random = np.random.default_rng(split)
    rows = []
    for name, paths in files.items():
        kind, _, label = name.rpartition("/")
        order = random.permutation(len(paths))
        if kind:
            chosen = order[: each if kind == "train" else CIFAR10_TEST]
            rows += [(paths[index], label, kind) for index in chosen]
            continue
        tested = set(order[: max(round(TEST_SHARE * len(paths)), 1)])
        rows += [(path, name, "test" if index in tested else "train") for index, path in enumerate(paths)]
    return rows


def write_listing(listing: Path, rows: list[tuple[Path, str, str]]) -> None:
    listing.parent.mkdir(parents=True, exist_ok=True)
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        writer.writerows((path.absolute(), label, split) for path, label, split in rows)


def train(listing: Path, options: list[str]) -> dict[str, float]:
    """Test accuracy and wall-clock seconds of ``mlpconv train`` with all defaults, in a separate process."""
    out = listing.with_suffix(f".run-{os.getpid()}-{time.time_ns()}")
    command = [sys.executable, "-m", "mlpconv", "train", "--data", str(listing), "--out", str(out), "--json", *options]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    usage = {key: result[key] for key in ("epochs", "best_epoch", "train_accuracy", "validation_accuracy")}
    return {"accuracy": result["test_accuracy"], "seconds": seconds, **usage}


def teacher_accuracy(rows: list[tuple[Path, str, str]], work: Path) -> dict[str, float]:
    """Logistic regression on the standardized features of EfficientNet-Lite0."""
    started = time.perf_counter()
    teacher, _ = load_teacher(work, SIDE)
    features = []
    for start in range(0, len(rows), 32):
        images = [
            np.asarray(on_white(Image.open(path)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            for path, _, _ in rows[start : start + 32]
        ]
        features.append(teacher_features(teacher, np.stack(images)))
    x = np.concatenate(features)
    labels = np.array([label for _, label, _ in rows])
    learned = np.array([split == "train" for _, _, split in rows])
    scaled = StandardScaler().fit(x[learned]).transform(x)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(scaled[learned], labels[learned])
    accuracy = model.score(scaled[~learned], labels[~learned])
    return {"accuracy": float(accuracy), "seconds": time.perf_counter() - started}


def teacher_features(teacher: nn.Module, images: np.ndarray) -> np.ndarray:
    """The pooled features, float32 (N, 1280), of uint8 (N, H, W, 3)."""
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return teacher.extract_features(x).mean((2, 3)).numpy()


def resources(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the files in a file of Qt resources (.rcc)."""
    version, tree, data, names = (int.from_bytes(content[start : start + 4]) for start in (4, 8, 12, 16))
    size = 14 if version == 1 else 22
    entries = [(0, "")]
    while entries:
        number, path = entries.pop()
        start = tree + number * size
        name = names + int.from_bytes(content[start : start + 4])
        flags = int.from_bytes(content[start + 4 : start + 6])
        if number:
            length = int.from_bytes(content[name : name + 2])
            path += "/" + content[name + 6 : name + 6 + 2 * length].decode("utf-16-be")
        if flags & 2:
            count, first = (int.from_bytes(content[start + at : start + at + 4]) for at in (6, 10))
            entries += [(first + child, path) for child in range(count)]
            continue
        begin = data + int.from_bytes(content[start + 10 : start + 14])
        value = content[begin + 4 : begin + 4 + int.from_bytes(content[begin : begin + 4])]
        yield path, zlib.decompress(value[4:]) if flags & 1 else value


if __name__ == "__main__":
    main()
