"""The recipe d2l next to the chapter's own loop in PyTorch: the same batches, the same start, the same losses.

The loop below is the chapter's, in lines of our own: Pillow resizes each image, ``ToTensor`` scales it, plain SGD with
learning rate 0.1 trains. Only the order of the images and the numbers that dropout draws are taken from mlpconv.
"""

import numpy as np
import pytest
from PIL import Image

from mlpconv.data import load_dataset
from mlpconv.data.dataset import Splits
from mlpconv.errors import DataError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.training.plan import plan_step
from mlpconv.training.trainer import Progress

torch = pytest.importorskip("torch")

SIZE = 70


def chapter_network(dropout):
    """The network as the PyTorch edition defines it, with a given dropout layer."""
    from torch import nn

    def block(inputs, outputs, kernel, stride, padding):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=1),
            nn.ReLU(),
        )

    return nn.Sequential(
        block(1, 96, 11, 4, 0),
        nn.MaxPool2d(3, stride=2),
        block(96, 256, 5, 1, 2),
        nn.MaxPool2d(3, stride=2),
        block(256, 384, 3, 1, 1),
        nn.MaxPool2d(3, stride=2),
        dropout,
        block(384, 10, 3, 1, 1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )


def pillow_resized(image):
    """One image as ``transforms.Resize(SIZE)`` and ``transforms.ToTensor()`` give it, float32 (1, SIZE, SIZE)."""
    resized = Image.fromarray(image[..., 0]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)[None] / 255


@pytest.mark.parametrize("steps", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_d2l_trains_as_the_chapters_loop_does(tmp_path, steps):
    from torch import nn

    from mlpconv.backends.pytorch.forward import Dropout

    try:
        data = load_dataset("fashion-mnist", download=False)
    except DataError as error:
        pytest.skip(str(error).partition("\n")[0])
    count = 128 * (steps + 1)
    data = Splits(data.train.subset(range(count)), data.test.subset(range(256)))
    job = prepare(Request(recipe="d2l", changes={"image_size": SIZE, "epochs": 1}, device="cpu"), data)
    recipe = job.recipe
    assert (job.job.precision, recipe.batch_size, recipe.learning_rate) == ("float32", 128, 0.1)
    start = job.make_model().weights()

    class SeededDropout(nn.Module):
        p, generator = 0.5, torch.Generator()

        def forward(self, x):
            return Dropout(self, self.generator)(x)

    dropout = SeededDropout()
    net = chapter_network(dropout)
    named = dict(zip(start, net.parameters(), strict=True))
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(start[name]))
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss, expected = nn.CrossEntropyLoss(), []
    for step in range(steps):
        plan = plan_step(recipe, count, (28, 28), SIZE, 0, step, data.train.labels)
        dropout.generator.manual_seed(plan.dropout_seed)
        x = torch.from_numpy(np.stack([pillow_resized(data.train.images[index]) for index in plan.indices]))
        trainer.zero_grad()
        value = loss(net(x), torch.from_numpy(data.train.labels[plan.indices]))
        value.backward()
        trainer.step()
        expected.append(value.item())

    execution = execute(job, tmp_path / "run", ExecuteOptions(report_seconds=0))
    means = [0.0]
    for event in execution:
        if isinstance(event, Progress):
            assert event.step == len(means)
            means.append(event.loss * event.step)
        if len(means) > steps:
            break
    np.testing.assert_allclose(np.diff(means), expected, rtol=0, atol=1e-3)
    assert max(expected) > min(expected)
