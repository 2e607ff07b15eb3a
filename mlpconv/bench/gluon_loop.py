"""The contender "gluon": the chapter's way in MXNet, its network, loader and loop in Gluon.

The loader resizes each image in four workers, the loop fetches loss and accuracy after every batch; MXNet keeps its
default, which is not hybridized.
"""

import time
import warnings
from typing import Any

import numpy as np

from mlpconv.bench.contest import Job
from mlpconv.bench.images import splits

with warnings.catch_warnings():
    # It uses names that NumPy 1.23 warns of.
    warnings.simplefilter("ignore")
    import mxnet as mx  # pyright: ignore[reportMissingImports]
    from mxnet import autograd, gluon, init  # pyright: ignore[reportMissingImports]
    from mxnet.gluon import nn  # pyright: ignore[reportMissingImports]

WORKERS = 4
LEARNING_RATE = 0.1


def mlp_conv(channels: int, kernel_size: int, strides: int, padding: int) -> nn.Sequential:
    """A convolution and two 1×1 convolutions, a ReLU after each."""
    block = nn.Sequential()
    block.add(
        nn.Conv2D(channels, kernel_size, strides, padding, activation="relu"),
        nn.Conv2D(channels, kernel_size=1, activation="relu"),
        nn.Conv2D(channels, kernel_size=1, activation="relu"),
    )
    return block


def network() -> nn.Sequential:
    """The chapter's network."""
    net = nn.Sequential()
    net.add(
        mlp_conv(96, 11, 4, 0),
        nn.MaxPool2D(pool_size=3, strides=2),
        mlp_conv(256, 5, 1, 2),
        nn.MaxPool2D(pool_size=3, strides=2),
        mlp_conv(384, 3, 1, 1),
        nn.MaxPool2D(pool_size=3, strides=2),
        nn.Dropout(0.5),
        mlp_conv(10, 3, 1, 1),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
    )
    return net


def measure(job: Job) -> dict[str, Any]:
    """Measure images a second within an epoch, while the loader is running."""
    train = splits(job.data).train
    transforms = gluon.data.vision.transforms
    change = transforms.Compose([transforms.Resize(job.image_size), transforms.ToTensor()])
    data = gluon.data.ArrayDataset(mx.nd.array(train.images, dtype="uint8"), train.labels.astype(np.float32))
    loader = gluon.data.DataLoader(data.transform_first(change), job.batch_size, shuffle=True, num_workers=WORKERS)
    net = network()
    net.initialize(init=init.Xavier(), force_reinit=True)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": LEARNING_RATE})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    loss_sum, correct, seen = 0.0, 0.0, 0
    started = seconds = 0.0
    for step, (images, labels) in enumerate(loader, start=1):
        with autograd.record():
            outputs = net(images)
            losses = loss(outputs, labels)
        losses.backward()
        trainer.step(len(images))
        # Each of them waits, as the chapter's accumulator does.
        loss_sum += float(losses.sum().asscalar())
        correct += float((outputs.argmax(axis=1) == labels).sum().asscalar())
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
        "versions": {"mxnet": mx.__version__},
    }
