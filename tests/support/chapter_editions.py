"""The code of each edition of the chapter: its network, its training loop, and its way to save and load weights.

An edition is a class that imports its framework only when it is created. Dropout is switched off (`p` of 0), since each
framework draws other numbers.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

LEARNING_RATE = 0.1


class Edition(Protocol):
    """One edition. Images are float32 (B, 1, 224, 224) in 0..1, labels int64 (B,), logits float32 (B, 10)."""

    file: str
    """The name of the file that `save` writes and `load` reads."""

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> float:
        """One step of the edition's loop; returns the mean loss before it."""
        ...

    def logits(self, images: np.ndarray) -> np.ndarray: ...

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None:
        """Load weights strictly: a missing or unknown one is an error."""
        ...


class PyTorch:
    """The Chinese edition with a student's answers: `init_weights` with Xavier, SGD 0.1."""

    file = "net.pt"

    def __init__(self) -> None:
        import torch
        from torch import nn

        torch.manual_seed(2)
        self.net = self.network(nn)
        self.net.apply(self.init_weights)
        self.optimizer = self.make_optimizer(torch)

    def network(self, nn):
        from support import chapter_pytorch

        net = chapter_pytorch.nin(lazy=False)
        net[6].p = 0
        return net

    def init_weights(self, module):
        from torch import nn

        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)

    def make_optimizer(self, torch):
        return torch.optim.SGD(self.net.parameters(), lr=LEARNING_RATE)

    def train_step(self, images, labels):
        import torch

        self.net.train()
        self.optimizer.zero_grad()
        loss = torch.nn.CrossEntropyLoss()(self.net(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def logits(self, images):
        import torch

        with torch.no_grad():
            return self.net.eval()(torch.from_numpy(images)).numpy()

    def save(self, path):
        import torch

        torch.save(self.net.state_dict(), path)

    def load(self, path):
        import torch

        self.net.load_state_dict(torch.load(path))


class D2lzhPyTorch(PyTorch):
    """The edition with `d2lzh_pytorch`: pooling and flatten are its own classes; PyTorch's start, Adam 0.002."""

    def network(self, nn):
        import torch.nn.functional as F

        class GlobalAvgPool2d(nn.Module):
            def forward(self, x):
                return F.avg_pool2d(x, kernel_size=x.size()[2:])

        class FlattenLayer(nn.Module):
            def forward(self, x):
                return x.view(x.shape[0], -1)

        return nn.Sequential(*super().network(nn)[:8], GlobalAvgPool2d(), FlattenLayer())

    def init_weights(self, module):
        pass

    def make_optimizer(self, torch):
        return torch.optim.Adam(self.net.parameters(), lr=0.002)


class PyTorchNotes(PyTorch):
    """The edition whose training is to follow: the same network, and the start is PyTorch's."""

    def init_weights(self, module):
        pass


class Gluon:
    """The first Chinese edition: arrays of `nd`, Xavier, SGD 0.1."""

    file = "net.params"

    def __init__(self) -> None:
        import mxnet as mx
        from mxnet import gluon

        from support import chapter_other_frameworks

        mx.random.seed(3)
        self.arrays = self.choose_arrays(mx)
        self.net = chapter_other_frameworks.gluon_nin(arrays=self.arrays)
        self.net[6]._rate = 0
        self.loss = gluon.loss.SoftmaxCrossEntropyLoss()
        self.trainer = gluon.Trainer(self.net.collect_params(), "sgd", {"learning_rate": LEARNING_RATE})

    def choose_arrays(self, mx):
        return mx.nd

    def train_step(self, images, labels):
        from mxnet import autograd

        x, y = self.arrays.array(images), self.arrays.array(labels)
        with autograd.record():
            loss = self.loss(self.net(x), y)
        loss.backward()
        self.trainer.step(len(images))
        return loss.mean().asnumpy().item()

    def logits(self, images):
        return self.net(self.arrays.array(images)).asnumpy()

    def save(self, path):
        self.net.save_parameters(str(path))

    def load(self, path):
        self.net.load_parameters(str(path))


class MxnetNumpy(Gluon):
    """The edition side by side with PyTorch and TensorFlow, in MXNet: arrays of `np`. It needs `npx.set_np()`."""

    def choose_arrays(self, mx):
        return mx.np


class TensorFlow:
    """The edition side by side with MXNet and PyTorch, in TensorFlow: activations in the convolutions, SGD 0.1."""

    file = "net.weights.h5"

    def __init__(self) -> None:
        import keras

        from support import chapter_other_frameworks

        keras.utils.set_random_seed(2)
        self.net = chapter_other_frameworks.keras_edition_nin()
        self.net.layers[6].rate = 0
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.net.compile(optimizer=keras.optimizers.SGD(learning_rate=LEARNING_RATE), loss=loss)

    def train_step(self, images, labels):
        return float(self.net.train_on_batch(images.transpose(0, 2, 3, 1), labels))

    def logits(self, images):
        return np.asarray(self.net(images.transpose(0, 2, 3, 1), training=False))

    def save(self, path):
        self.net.save_weights(path)

    def load(self, path):
        self.net.load_weights(path)


EDITIONS: dict[str, list[type[Edition]]] = {
    "torch": [PyTorch, D2lzhPyTorch, PyTorchNotes],
    "mxnet": [Gluon, MxnetNumpy],
    "tensorflow": [TensorFlow],
    "jax": [],
}
"""The editions of each back end; the chapter in JAX is held by conformance/test_editions.py."""
