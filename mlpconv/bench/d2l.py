"""The contender "d2l": the chapter's network, loader and loop in PyTorch, as readers of the book write them.

Dive into Deep Learning, sections 3.5 (the loader: each image resized to 224 pixels by Pillow, four workers), 6.6 (the
loop: loss and accuracy fetched after every batch) and 7.3 (the network). PyTorch keeps its default settings.
"""

import time
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mlpconv.backends.base import Images, Labels
from mlpconv.bench.contest import Job
from mlpconv.bench.images import splits

WORKERS = 4
LEARNING_RATE = 0.1


class EnlargedImages(Dataset):
    """Images (N, 28, 28, 1) one at a time, resized by Pillow: float32 (1, size, size) in 0..1, and the label."""

    def __init__(self, images: Images, labels: Labels, size: int) -> None:
        self.images, self.labels, self.size = images[..., 0], labels.tolist(), size

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index]).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).unsqueeze(0).float().div(255), self.labels[index]


def mlp_conv(inputs: int, outputs: int, **window: int) -> nn.Sequential:
    """A convolution and two 1×1 convolutions, a ReLU after each."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, **window),  # pyright: ignore[reportArgumentType]
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, kernel_size=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, kernel_size=1),
        nn.ReLU(),
    )


def network() -> nn.Sequential:
    """The chapter's network with its Xavier start."""
    net = nn.Sequential(
        mlp_conv(1, 96, kernel_size=11, stride=4),
        nn.MaxPool2d(3, stride=2),
        mlp_conv(96, 256, kernel_size=5, padding=2),
        nn.MaxPool2d(3, stride=2),
        mlp_conv(256, 384, kernel_size=3, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        mlp_conv(384, 10, kernel_size=3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
    return net


def measure(job: Job) -> dict[str, Any]:
    """Measure images a second within an epoch, while the loader is running."""
    train = splits(job.data).train
    data = EnlargedImages(train.images, train.labels, job.image_size)
    loader = DataLoader(data, job.batch_size, shuffle=True, num_workers=WORKERS)
    device = torch.device(job.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    net = network().to(device).train()
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    loss_sum, correct, seen = 0.0, 0.0, 0
    started = seconds = 0.0
    for step, (images, labels) in enumerate(loader, start=1):
        optimizer.zero_grad()
        images, labels = images.to(device), labels.to(device)
        outputs = net(images)
        batch_loss = loss(outputs, labels)
        batch_loss.backward()
        optimizer.step()
        with torch.no_grad():
            # Each float() fetches its value from the device, as the chapter's accumulator does.
            loss_sum += float(batch_loss * len(images))
            correct += float((outputs.argmax(1) == labels).sum())
            seen += len(images)
        if step == job.warmup:
            started = time.perf_counter()
        if step == job.warmup + job.steps:
            seconds = time.perf_counter() - started
            break
    return {
        "images_per_second": job.steps * job.batch_size / seconds,
        "loss": loss_sum / seen,
        "accuracy": correct / seen,
        "device": str(device),
        "versions": {"pillow": PIL.__version__, "torch": torch.__version__},
    }
