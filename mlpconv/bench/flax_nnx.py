"""The contender "flax": the chapter's way in JAX, a Flax NNX module, optax, and a compiled step."""

import time
from importlib.metadata import version
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
import optax  # pyright: ignore[reportMissingImports]
from flax import nnx  # pyright: ignore[reportMissingImports]

from mlpconv.bench.contest import Job
from mlpconv.bench.images import splits

LEARNING_RATE = 0.1


def mlp_conv(inputs: int, outputs: int, kernel: int, strides: int, padding: Any, rngs: nnx.Rngs) -> list[Any]:
    """A convolution and two 1×1 convolutions, a ReLU after each."""
    start = {"kernel_init": nnx.initializers.xavier_uniform(), "rngs": rngs}
    return [
        nnx.Conv(inputs, outputs, (kernel, kernel), strides, padding=padding, **start),
        nnx.relu,
        nnx.Conv(outputs, outputs, (1, 1), **start),
        nnx.relu,
        nnx.Conv(outputs, outputs, (1, 1), **start),
        nnx.relu,
    ]


def pool(x: jax.Array) -> jax.Array:
    return nnx.max_pool(x, (3, 3), (2, 2))


def network() -> nnx.Sequential:
    """The chapter's network."""
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        *mlp_conv(1, 96, 11, 4, "VALID", rngs),
        pool,
        *mlp_conv(96, 256, 5, 1, "SAME", rngs),
        pool,
        *mlp_conv(256, 384, 3, 1, "SAME", rngs),
        pool,
        nnx.Dropout(0.5, rngs=rngs),
        *mlp_conv(384, 10, 3, 1, "SAME", rngs),
        lambda x: x.mean(axis=(1, 2)),
    )


def measure(job: Job) -> dict[str, Any]:
    """Measure images a second; each batch is enlarged by ``jax.image.resize``, which is compiled too."""
    train = splits(job.data).train
    net = network()
    net.train()
    optimizer = nnx.Optimizer(net, optax.sgd(LEARNING_RATE), wrt=nnx.Param)

    @jax.jit
    def enlarged(images: jax.Array) -> jax.Array:
        shape = (len(images), job.image_size, job.image_size, 1)
        return jax.image.resize(images.astype(jnp.float32) / 255, shape, "bilinear")

    @nnx.jit
    def step(net: nnx.Sequential, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> Any:
        def loss(net: nnx.Sequential) -> Any:
            logits = net(images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

        (value, logits), gradients = nnx.value_and_grad(loss, has_aux=True)(net)
        optimizer.update(net, gradients)
        return value, (logits.argmax(1) == labels).sum()

    order = np.random.default_rng(0).permutation(len(train))
    started, losses, correct = 0.0, [], 0
    for number in range(job.warmup + job.steps):
        if number == job.warmup:
            started = time.perf_counter()
        indices = order[number * job.batch_size : (number + 1) * job.batch_size]
        value, hits = step(net, optimizer, enlarged(train.images[indices]), train.labels[indices].astype(np.int32))
        losses.append(float(value))
        correct += int(hits)
    seconds = time.perf_counter() - started
    return {
        "images_per_second": job.steps * job.batch_size / seconds,
        "loss": float(np.mean(losses)),
        "accuracy": correct / len(losses) / job.batch_size,
        "versions": {name: version(name) for name in ("jax", "flax", "optax")},
    }
