"""The chapter's exercises as studies: what each asks, which arms answer it, and at which size for which machine."""

from collections.abc import Mapping
from itertools import pairwise, product
from types import MappingProxyType
from typing import Any, NamedTuple

from mlpconv.studies import collapse, measures
from mlpconv.studies.runner import Arm


class Budget(NamedTuple):
    """How much a study may cost. images, test_images: of the data set, chosen in proportion to its classes; None is all
    of them. image_size: side in pixels of the network's input. batch_size: None is the recipe's; of part of the images,
    smaller batches give as many steps to learn by."""

    seeds: int
    images: int | None
    test_images: int | None
    epochs: int
    image_size: int
    batch_size: int | None = None


class Study(NamedTuple):
    """A question and its experiment. base: changes of the recipe ``recipe`` for all arms. pairs: which arm is compared
    with which. columns: further measures to show, by title; only_shown: those of them that arms are not compared by.
    kind: what the picture is: "bars", "curves" or "map"."""

    name: str
    question: str
    arms: tuple[Arm, ...]
    budgets: dict[str, Budget]
    pairs: tuple[tuple[str, str], ...]
    recipe: str = "quick"
    base: Mapping[str, Any] = MappingProxyType({})
    extra: measures.Extra | None = None
    columns: Mapping[str, str] = MappingProxyType({})
    only_shown: tuple[str, ...] = ()
    kind: str = "bars"
    about: str = ""


def _network(name: str) -> str:
    return f"mlpconv.studies.networks:{name}"


def _against(first: str, arms: tuple[Arm, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((arm.name, first) for arm in arms if arm.name != first)


def _budgets(
    seeds: int,
    images: int,
    epochs: int,
    size: int = 80,
    *,
    batch: int | None = 32,
    gpu_epochs: int = 5,
    gpu_size: int = 224,
) -> dict[str, Budget]:
    return {
        "small": Budget(2, 400, 200, 1, size, batch),
        "laptop": Budget(seeds, images, 5000, epochs, size, batch),
        "gpu": Budget(5, None, None, gpu_epochs, gpu_size),
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
    _budgets(5, 12_000, 1),
    pairs=tuple((later.name, earlier.name) for earlier, later in pairwise(_EPOCHS)),
    extra=measures.convergence,
    columns={"epochs_to_within_0.01": "epochs until within 0.01 of the end"},
    kind="curves",
    about="Each arm is a training of its own, whose learning rate rises and falls over all of its epochs.",
)

_LAYERS = tuple(
    Arm(f"layers-{count}", {"model": _network(f"mlp{count}")}, f"{word} 1×1 convolution{'s' * (count != 1)} a block")
    for count, word in ((2, "two"), (0, "no"), (1, "one"), (3, "three"))
)
_study(
    "one-by-one",
    "Why two 1×1 convolutions in each block? What do none, one and three of them do?",
    _LAYERS,
    _budgets(5, 12_000, 4),
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
    _budgets(4, 10_000, 4),
)

_HEADS = (
    Arm("average-pooling", {"model": _network("mlp2")}, "the last block and global average pooling, as the chapter"),
    Arm("connected", {"model": _network("connected")}, "AlexNet's three fully connected layers in their place"),
    Arm("one-connected", {"model": _network("one_connected")}, "one fully connected layer in their place"),
)
_study(
    "head",
    "Global average pooling or fully connected layers: speed, accuracy, parameters, overfitting?",
    _HEADS,
    _budgets(4, 10_000, 4, 112),
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
    _budgets(5, 12_000, 4),
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
_study(
    "learning-rate",
    "At which learning rates does it learn, stall, lose classes, diverge?",
    tuple(
        Arm(f"{start}-{rate:g}", {"learning_rate": rate, "initializer": start}, f"SGD {rate:g}, {start} start")
        for start, rate in product(_STARTS, _RATES)
    ),
    _budgets(3, 12_000, 3),
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
    _budgets(3, 12_000, 3, batch=None),
    recipe="d2l",
    base={"initializer": "open"},
    pairs=(),
    extra=measures.lost_classes,
    columns={"lost_classes": "classes lost"},
    kind="map",
    about="All arms see as many images, so small batches take more steps. All begin with every class open: what "
    "Xavier's start does, the study learning-rate shows.",
)

_CLASSICS = (
    Arm("nin", {"model": "nin"}, "the chapter's network"),
    Arm("lenet", {"model": "lenet", "image_size": 28, "initializer": "xavier"}, "LeNet at its own 28×28, Xavier start"),
    Arm("alexnet", {"model": "alexnet"}, "AlexNet"),
    Arm("vgg11", {"model": "vgg11"}, "VGG-11"),
)
_study(
    "classics",
    "How does NiN compare with LeNet, AlexNet and VGG at an equal budget of images?",
    _CLASSICS,
    _budgets(3, 6_000, 4),
    base={"learning_rate": 1e-3},
    extra=measures.overfitting,
    columns={"accuracy_on_training_images": "accuracy on the training images"},
    about="All see the same images as often, with one recipe; it was not tuned for any of them.",
)

_FAMILY = tuple(Arm(name, {"model": name}, f"NiN-{name[3:]}") for name in ("nin11", "nin16", "nin19"))
_study(
    "family",
    "A family of NiN by VGG's rules, NiN-11, NiN-16, NiN-19: what does depth bring for what it costs?",
    _FAMILY,
    _budgets(4, 8_000, 4, 32, gpu_size=64),
    pairs=(("nin16", "nin11"), ("nin19", "nin16"), ("nin19", "nin11")),
)

_study(
    "collapse",
    collapse.QUESTION,
    collapse.ARMS,
    {
        "small": Budget(2, 400, 200, 1, 80),
        "laptop": Budget(20, 20_000, 5000, 2, 70, batch_size=32),
        "gpu": Budget(20, None, None, 10, 224),
    },
    pairs=collapse.PAIRS,
    recipe="d2l",
    extra=collapse.first_attempt,
    columns=collapse.COLUMNS,
    only_shown=collapse.ONLY_SHOWN,
    about=collapse.ABOUT,
)

_study(
    "resources",
    "How many parameters, how much computation, how much memory in training and in prediction: predicted and measured?",
    tuple(Arm(name, {"model": name}) for name in ("nin", "lenet", "alexnet", "vgg11", "nin_28")),
    {
        "small": Budget(2, None, None, 1, 80),
        "laptop": Budget(3, None, None, 1, 224),
        "gpu": Budget(3, None, None, 1, 224),
    },
    pairs=(),
    base={"batch_size": 32},
    kind="resources",
    about="Nothing is trained: each measurement is a process of its own that carries out three steps or predictions. "
    "On a CPU what is resident holds more than tensors: the framework's working space and code, which weigh most where "
    "the network is small.",
)
