"""The study of dead classes, on a network so small that it can be carried out."""

import numpy as np
import pytest

from mlpconv.data import ImageDataset, Splits
from mlpconv.drawing.plots import png
from mlpconv.studies import figures, pages
from mlpconv.studies.catalogue import STUDIES, Budget
from mlpconv.studies.perform import base, perform
from mlpconv.studies.runner import StudyOptions
from mlpconv.training.recipes import get_recipe

pytest.importorskip("torch")
LABELS = np.arange(330) % 3
IMAGES = np.random.default_rng(0).integers(0, 120, (330, 6, 6, 1), dtype=np.uint8)
IMAGES[LABELS == 0, ::2] += 100
IMAGES[LABELS == 1, :, ::2] += 100
DATA = Splits(
    ImageDataset(IMAGES[:300], LABELS[:300], tuple("abc"), "stripes/train"),
    ImageDataset(IMAGES[300:], LABELS[300:], tuple("abc"), "stripes/test"),
)


def test_each_seed_has_accuracy_dead_classes_and_repairs(tmp_path, monkeypatch):
    collapse = STUDIES["collapse"]
    tiny = collapse._replace(
        base={"model": "mlpconv.studies.collapse_test:net", "batch_size": 4, "precision": "float32"}
    )
    import sys
    import types

    from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, ReLU
    from mlpconv.arch.network import Block, Network

    def net(num_classes=3, input_channels=1):
        return Network(
            Block(conv=Conv2d(num_classes, 3), relu=ReLU()),
            GlobalAvgPool2d(),
            Flatten(),
            input_channels=input_channels,
            input_size=6,
        )

    module = types.ModuleType("mlpconv.studies.collapse_test")
    module.net = net
    monkeypatch.setitem(sys.modules, module.__name__, module)
    arms = [arm._replace(changes={**arm.changes, "seed": 0}) for arm in collapse.arms[:2]]
    # At a rate at which it certainly shuts.
    arms = [arm._replace(changes={**arm.changes, "learning_rate": 50.0}) for arm in arms]
    tiny = tiny._replace(arms=tuple(arms), pairs=((arms[1].name, arms[0].name),))
    lines = []
    result = perform(
        tiny,
        Budget(seeds=2, images=None, test_images=None, epochs=2, image_size=6),
        tmp_path / "runs",
        DATA,
        StudyOptions(device="cpu", progress=lines.append),
    )
    assert result["complete"]
    as_it_is, guarded = result["arms"]
    for arm in result["arms"]:
        for row in arm["seeds"]:
            assert {"seed", "test_accuracy", "dead_classes", "repairs", "first_dead_classes"} <= row.keys()
    assert all(row["dead_classes"] > 0 and row["repairs"] == 0 for row in as_it_is["seeds"])
    assert all(row["dead_classes"] == 0 and row["repairs"] > 0 for row in guarded["seeds"])
    assert all(row["first_dead_classes"] > 0 for row in [*as_it_is["seeds"], *guarded["seeds"]])
    assert guarded["mean"] > as_it_is["mean"]
    page = pages.markdown(result, "mlpconv study collapse")
    assert "dead classes in the end" in page
    assert png(figures.figure(result)).startswith(b"\x89PNG")
    assert len(lines) == 5
    assert lines[0].startswith("4 runs to train: about ")


def test_the_arms_are_the_chapter_and_its_remedies():
    collapse = STUDIES["collapse"]
    assert collapse.recipe == "d2l"
    assert dict(collapse.arms[0].changes) == {"on_trouble": "ignore"}
    assert get_recipe("d2l").on_trouble == "ignore"
    assert [arm.changes["on_trouble"] for arm in collapse.arms].count("repair") == 1
    assert collapse.budgets["gpu"] == Budget(seeds=20, images=None, test_images=None, epochs=10, image_size=224)
    assert base(collapse, collapse.budgets["gpu"]).batch_size == get_recipe("d2l").batch_size == 128
    assert base(collapse, collapse.budgets["laptop"]).batch_size == 32
