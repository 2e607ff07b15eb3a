"""The chapter's exercises as studies: the question of each, the arms that answer it, and its size by machine.

To add an arm to a study, add an ``Arm`` here. If it needs a network, add a function to ``networks.py``. Until the study
is run again, ``python tools/study_pages.py`` makes its page state that the arm is not run yet.
"""

from collections.abc import Mapping
from itertools import pairwise, product
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from mlpconv.studies import measures
from mlpconv.studies.runner import Arm

Kind = Literal["bars", "curves", "map", "resources"]
"""What a study's figure shows: arms side by side, accuracy by epoch, a map of outcomes, or predicted resources."""


class Budget(NamedTuple):
    """The size of a study."""

    seeds: int
    """The number of seeds; an arm may take several times as many (``Arm.seed_factor``)."""
    images: int | None
    """Training images, chosen in proportion to the classes; None is all of them."""
    test_images: int | None
    """Test images, chosen in the same way."""
    epochs: int
    image_size: int
    """The side in pixels of the network's input."""
    batch_size: int | None = None
    """None is the recipe's. With fewer images, smaller batches give enough steps to learn."""


class Study(NamedTuple):
    """A question and its experiment."""

    name: str
    question: str
    arms: tuple[Arm, ...]
    budgets: dict[str, Budget]
    pairs: tuple[tuple[str, str], ...]
    """(arm, other): the arms to compare."""
    recipe: str = "study"
    base: Mapping[str, Any] = MappingProxyType({})
    """Changes of the recipe for all arms."""
    extra: measures.Extra | None = None
    """Returns further measures of a run."""
    columns: Mapping[str, str] = MappingProxyType({})
    """The titles of further measures in the table, by name."""
    only_shown: tuple[str, ...] = ()
    """Those of them by which arms are not compared."""
    kind: Kind = "bars"
    """What the figure shows."""
    least_map: int = 1
    """The positions that each side of an arm's last map needs for the question to have a meaning."""
    about: str = ""
    """Notes for the page."""


def _network(name: str) -> str:
    return f"mlpconv.studies.networks:{name}"


def _against(first: str, arms: tuple[Arm, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((arm.name, first) for arm in arms if arm.name != first)


def _budgets(
    *,
    seeds: int,
    images: int,
    epochs: int,
    size: int = 131,
    batch: int | None = 32,
    test: int = 5000,
    gpu_epochs: int = 5,
    gpu_size: int = 224,
) -> dict[str, Budget]:
    """The sizes of a study that trains. At 131 pixels the last map of the chapter's network is 3×3, at 99 it is 2×2."""
    return {
        "small": Budget(seeds=2, images=400, test_images=200, epochs=1, image_size=size, batch_size=batch),
        "laptop": Budget(
            seeds=seeds, images=images, test_images=test, epochs=epochs, image_size=size, batch_size=batch
        ),
        "gpu": Budget(seeds=5, images=None, test_images=None, epochs=gpu_epochs, image_size=gpu_size),
    }


STUDIES: dict[str, Study] = {}


def _study(name: str, question: str, arms: tuple[Arm, ...], budgets: dict[str, Budget], **more: Any) -> None:
    more.setdefault("pairs", _against(arms[0].name, arms))
    STUDIES[name] = Study(name, question, arms, budgets, **more)


_EPOCHS = tuple(
    Arm(f"epochs-{count}", {"epochs": count}, f"{word} through the images")
    for count, word in ((1, "once"), (2, "twice"), (4, "four times"), (8, "eight times"))
)
_study(
    "epochs",
    "What do more epochs bring, and how fast does the network converge?",
    _EPOCHS,
    _budgets(seeds=3, images=6_000, epochs=1, batch=16, test=2000),
    pairs=tuple((later.name, earlier.name) for earlier, later in pairwise(_EPOCHS)),
    extra=measures.convergence,
    columns={"epochs_to_within_0.01": "epochs until within 0.01 of the end"},
    kind="curves",
    about="Each arm is a separate training, whose learning rate rises and falls over all of its epochs.",
)

_LAYERS = tuple(
    Arm(f"layers-{count}", {"model": _network(f"mlp{count}")}, f"{word} 1×1 convolution{'s' * (count != 1)} a block")
    for count, word in ((2, "two"), (0, "no"), (1, "one"), (3, "three"))
)
_study(
    "one-by-one",
    "Why two 1×1 convolutions in each block? What do none, one and three of them do?",
    _LAYERS,
    _budgets(seeds=6, images=6_000, epochs=4),
)

_KERNELS = (
    Arm("one-by-one", {"model": _network("mlp2")}, "two 1×1 convolutions a block, as the chapter has them"),
    Arm("three-by-three", {"model": _network("three_by_three")}, "two 3×3 convolutions in their place"),
    Arm("one-three-by-three", {"model": _network("one_three_by_three")}, "one 3×3 convolution in their place"),
)
_study(
    "three-by-three",
    "What changes when the 1×1 convolutions become 3×3 ones?",
    _KERNELS,
    _budgets(seeds=4, images=6_000, epochs=4),
    least_map=2,
    about="On a map of one position, a 3×3 convolution is a 1×1 one: only the middle of its window meets the map.",
)

_HEADS = (
    Arm("average-pooling", {"model": _network("mlp2")}, "the last block and global average pooling, as the chapter"),
    Arm("connected", {"model": _network("connected")}, "AlexNet's three fully connected layers in their place"),
    Arm("one-connected", {"model": _network("one_connected")}, "one fully connected layer in their place"),
)
# As many steps as with 6,000 images: with half of them, not every run learns.
_FEW = tuple(
    Arm(
        f"{arm.name}-few",
        {**arm.changes, "epochs": 12},
        f"{arm.about}; 2,000 images, twelve epochs",
        images=2_000,
    )
    for arm in _HEADS
)
_study(
    "head",
    "Global average pooling or fully connected layers: speed, accuracy, parameters, overfitting?",
    (*_HEADS, *_FEW),
    _budgets(seeds=4, images=6_000, epochs=4),
    pairs=(*_against(_HEADS[0].name, _HEADS), *_against(_FEW[0].name, _FEW)),
    least_map=2,
    about="Global average pooling of one position is the identity, so the maps must have more. The arms with few "
    "images show what each head does where overfitting is likely.",
    extra=measures.overfitting,
    columns={"accuracy_on_training_images": "accuracy on the training images", "gap": "above the test accuracy by"},
)

_STEPS = (
    Arm("one-step", {"model": _network("one_step")}, "384 → 10 → 10 → 10, as the chapter"),
    Arm("two-steps", {"model": _network("two_steps")}, "384 → 62 → 10 → 10"),
    Arm("three-steps", {"model": _network("three_steps")}, "384 → 114 → 34 → 10"),
)
_study(
    "one-step",
    "What is lost when 384 channels become 10 in one step?",
    _STEPS,
    _budgets(seeds=8, images=6_000, epochs=4),
    least_map=2,
    extra=measures.last_block,
    columns={
        "rank_least": "least effective rank in the last block",
        "rank_last": "effective rank of the class maps",
        "dead_most": "most dead units of a layer",
        "dead_last": "dead class maps",
    },
    about="Ranks and dead units are those of the outputs of the last block's ReLUs over 256 test images.",
)

_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_STARTS = ("xavier", "open")
_LONGER = ((128, 0.1), (128, 0.04), (64, 0.04))
_study(
    "learning-rate",
    "At which learning rates does it learn, stall, lose classes, diverge?",
    (
        *(
            Arm(f"{start}-{rate:g}", {"learning_rate": rate, "initializer": start}, f"SGD {rate:g}, {start} start")
            for start, rate in product(_STARTS, _RATES)
        ),
        *(
            Arm(
                f"20-epochs-{batch}-{rate:g}",
                {"learning_rate": rate, "batch_size": batch, "epochs": 20},
                f"SGD {rate:g}, Xavier start, batches of {batch}, 20 epochs of 2,000 images",
                images=2_000,
            )
            for batch, rate in _LONGER
        ),
    ),
    _budgets(seeds=3, images=6_000, epochs=2, size=99, test=2000),
    recipe="d2l",
    pairs=(),
    extra=measures.lost_classes,
    columns={"lost_classes": "classes lost"},
    kind="map",
)

_BATCHES = (16, 64, 256, 1024)
_study(
    "batch-size",
    "How do batch size and learning rate play together?",
    tuple(
        Arm(f"batch-{size}-{rate:g}", {"learning_rate": rate, "batch_size": size}, f"batches of {size}, SGD {rate:g}")
        for size, rate in product(_BATCHES, (0.01, 0.03, 0.1, 0.3))
    ),
    _budgets(seeds=3, images=6_000, epochs=2, size=99, batch=None, test=2000),
    recipe="d2l",
    base={"initializer": "open"},
    pairs=(),
    extra=measures.lost_classes,
    columns={"lost_classes": "classes lost"},
    kind="map",
    about="All arms see as many images, so small batches take more steps. All start with every class open: what "
    "Xavier's start does, the study learning-rate shows.",
)

_CLASSICS = (
    Arm("nin", {"model": "nin"}, "the chapter's network", seed_factor=4),
    Arm(
        "lenet",
        {"model": "lenet", "image_size": 28, "initializer": "xavier", "learning_rate": 1e-2},
        "LeNet at its own 28×28, Xavier start, learning rate 0.01",
        seed_factor=4,
    ),
    Arm("alexnet", {"model": "alexnet"}, "AlexNet", seed_factor=4),
    Arm("vgg11", {"model": "vgg11"}, "VGG-11"),
)
_study(
    "classics",
    "How does NiN compare with LeNet, AlexNet and VGG at an equal budget of images?",
    _CLASSICS,
    _budgets(seeds=4, images=3_000, epochs=3, batch=16, test=2000),
    base={"learning_rate": 1e-3},
    extra=measures.overfitting,
    columns={"accuracy_on_training_images": "accuracy on the training images"},
    about="All see the same images as often, with one recipe. It was not tuned for any of them, except that LeNet has "
    "ten times the learning rate: its sigmoids learn slowly.",
)

_FAMILY = tuple(Arm(name, {"model": name}, f"NiN-{name[3:]}") for name in ("nin11", "nin16", "nin19"))
_study(
    "family",
    "A family of NiN by VGG's rules, NiN-11, NiN-16, NiN-19: what does depth bring for what it costs?",
    _FAMILY,
    _budgets(seeds=3, images=4_000, epochs=2, size=64, batch=16, gpu_size=96),
    pairs=(("nin16", "nin11"), ("nin19", "nin16"), ("nin19", "nin11")),
)

_REMEDIES = (
    Arm("as-it-is", {"on_trouble": "ignore"}, "SGD 0.1, Xavier start, as the chapter"),
    Arm("guard", {"on_trouble": "repair"}, "the same, the guard repairs"),
    Arm("open-start", {"on_trouble": "ignore", "initializer": "open"}, "He start, the last block near the identity"),
    Arm("lower-rate", {"on_trouble": "ignore", "learning_rate": 0.05}, "SGD 0.05, as the edition of 2023"),
    Arm(
        "warm-up",
        {"on_trouble": "ignore", "schedule": "one-cycle"},
        "the rate rises over a quarter of the steps, then falls",
    ),
)
_study(
    "collapse",
    "How often does the chapter's recipe lose classes, and what helps?",
    _REMEDIES,
    {
        "small": Budget(seeds=2, images=400, test_images=200, epochs=1, image_size=99),
        "laptop": Budget(seeds=12, images=12_000, test_images=2000, epochs=1, image_size=99, batch_size=32),
        "gpu": Budget(seeds=20, images=None, test_images=None, epochs=10, image_size=224),
    },
    recipe="d2l",
    extra=measures.first_attempt,
    columns={
        "dead_classes": "dead classes in the end",
        "first_dead_classes": "in the first attempt",
        "repairs": "repairs",
    },
    only_shown=("first_dead_classes", "repairs"),
    about="A class is dead when its map is at most 0 at 99.9 % of positions or more. First attempts are what the guard "
    "met before it did anything; without it nothing is repaired, and both are the same.",
)

_PAPER = (
    Arm("paper", {"model": "nin_cifar10"}, "the paper's network: dropout, global average pooling"),
    Arm("no-dropout", {"model": _network("paper_without_dropout")}, "without its two dropout layers"),
    Arm("connected", {"model": _network("paper_connected")}, "a fully connected layer in place of the pooling"),
    Arm("connected-dropout", {"model": _network("paper_connected_dropout")}, "the same, with dropout before it"),
    Arm(
        "modern",
        {
            "model": "nin_32",
            "optimizer": {"name": "adamw", "momentum": 0.0, "weight_decay": 0.05},
            "learning_rate": 3e-3,
            "initializer": "he",
            "augmentation": {"erase": 8},
            "label_smoothing": 0.1,
        },
        "batch normalization, more weight decay, erasing: as the recipe `modern`",
    ),
)
_study(
    "paper",
    "What do dropout and global average pooling contribute to the paper's network on CIFAR-10, and newer methods?",
    _PAPER,
    _budgets(seeds=3, images=5_000, epochs=8, size=32, batch=64, gpu_epochs=100, gpu_size=32),
    recipe="paper",
    base={
        "optimizer": {"name": "adamw", "momentum": 0.0, "weight_decay": 1e-4},
        "learning_rate": 1e-3,
        "schedule": "one-cycle",
    },
    least_map=2,
    extra=measures.overfitting,
    columns={"accuracy_on_training_images": "accuracy on the training images", "gap": "above the test accuracy by"},
    about="These are the ablations of the paper's tables, with the recipe `paper` shortened: AdamW and one cycle learn "
    "in few steps, SGD as in the recipe does not.",
)

_study(
    "resources",
    "How many parameters, how much computation, how much memory in training and in prediction: predicted and measured?",
    tuple(Arm(name, {"model": name}) for name in ("nin", "lenet", "alexnet", "vgg11", "nin_28")),
    {
        "small": Budget(seeds=2, images=None, test_images=None, epochs=1, image_size=80),
        "laptop": Budget(seeds=3, images=None, test_images=None, epochs=1, image_size=224),
        "gpu": Budget(seeds=3, images=None, test_images=None, epochs=1, image_size=224),
    },
    pairs=(),
    base={"batch_size": 32},
    kind="resources",
    about="Nothing is trained: each measurement is a separate process that executes three steps or predictions. "
    "On a CPU what is resident holds more than tensors: the framework's working space and code, which weigh most where "
    "the network is small.",
)
