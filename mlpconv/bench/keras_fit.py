"""The contender "keras": the chapter's way in TensorFlow, a Keras model, a tf.data pipeline and ``fit``.

The pipeline makes batches, shuffles them, and enlarges each with ``tf.image.resize_with_pad``, as the book's TensorFlow
edition does.
"""

import time
from typing import Any

import keras  # pyright: ignore[reportMissingImports]
import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

from mlpconv.backends.base import Images, Labels
from mlpconv.bench.contest import Job
from mlpconv.bench.images import splits

LEARNING_RATE = 0.1


def mlp_conv(filters: int, **window: Any) -> keras.Sequential:
    """A convolution and two 1×1 convolutions, a ReLU after each."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(filters, activation="relu", **window),
            layers.Conv2D(filters, 1, activation="relu"),
            layers.Conv2D(filters, 1, activation="relu"),
        ]
    )


def network() -> keras.Sequential:
    """The chapter's network; Xavier is the default of Keras."""
    layers = keras.layers
    return keras.Sequential(
        [
            mlp_conv(96, kernel_size=11, strides=4),
            layers.MaxPool2D(3, 2),
            mlp_conv(256, kernel_size=5, padding="same"),
            layers.MaxPool2D(3, 2),
            mlp_conv(384, kernel_size=3, padding="same"),
            layers.MaxPool2D(3, 2),
            layers.Dropout(0.5),
            mlp_conv(10, kernel_size=3, padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Flatten(),
        ]
    )


def pipeline(images: Images, labels: Labels, batch_size: int, size: int) -> tf.data.Dataset:
    """Batches in random order, each enlarged when it is needed."""
    pairs = (images.astype(np.float32) / 255, labels.astype(np.int32))
    batches = tf.data.Dataset.from_tensor_slices(pairs).batch(batch_size).shuffle(len(images))
    return batches.map(lambda x, y: (tf.image.resize_with_pad(x, size, size), y))


class _Clock(keras.callbacks.Callback):
    """Seconds from the end of the warm-up to the end of the last step."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.started = self.seconds = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch + 1 == self.job.warmup:
            self.started = time.perf_counter()
        if batch + 1 == self.job.warmup + self.job.steps:
            self.seconds = time.perf_counter() - self.started


def measure(job: Job) -> dict[str, Any]:
    """Measure images a second within an epoch, while the pipeline is running."""
    train = splits(job.data).train
    net = network()
    net.compile(
        optimizer=keras.optimizers.SGD(learning_rate=LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    clock = _Clock(job)
    batches = pipeline(train.images, train.labels, job.batch_size, job.image_size)
    history = net.fit(batches, epochs=1, steps_per_epoch=job.warmup + job.steps, verbose=0, callbacks=[clock])
    assert keras.backend.backend() == "tensorflow"
    return {
        "images_per_second": job.steps * job.batch_size / clock.seconds,
        "loss": float(history.history["loss"][-1]),
        "accuracy": float(history.history["accuracy"][-1]),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
