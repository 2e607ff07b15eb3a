"""An entry of the speedrun in plain PyTorch, to copy: a convolutional network with SGD and one cycle.

It needs torch and numpy, and the four files of Fashion-MNIST, packed or not, in a directory (--data).
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPOCHS, BATCH, RATE = 2, 128, 0.1


def read(directory: Path, name: str) -> Tensor:
    """An IDX file (http://yann.lecun.com/exdb/mnist): uint8, 16 bytes before images, 8 before labels."""
    path = next(path for path in (directory / name, directory / f"{name}.gz") if path.exists())
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    images = "images" in name
    values = torch.from_numpy(np.frombuffer(content, np.uint8, offset=16 if images else 8).copy())
    return (values.view(-1, 1, 28, 28).float() / 255 - 0.286) / 0.353 if images else values.long()


def layer(channels: int, out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    started = time.perf_counter()

    images, labels = read(arguments.data, "train-images-idx3-ubyte"), read(arguments.data, "train-labels-idx1-ubyte")
    network = nn.Sequential(
        *layer(1, 32, 1), *layer(32, 64, 2), *layer(64, 128, 2), *layer(128, 256, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, epochs=EPOCHS, steps_per_epoch=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(network(images[chosen]), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    network.eval()
    images, labels = read(arguments.data, "t10k-images-idx3-ubyte"), read(arguments.data, "t10k-labels-idx1-ubyte")
    with torch.inference_mode():
        predicted = torch.cat([network(part).argmax(1) for part in images.split(500)])
    accuracy = (predicted == labels).float().mean().item()
    seconds = time.perf_counter() - started
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(json.dumps({"test_accuracy": accuracy, "seconds": seconds, "parameters": parameters}))


if __name__ == "__main__":
    main()
