"""``mlpconv convert``: weights between our classifiers and the files of other programs, the chapter's own above all."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from mlpconv.cli.output import Json, next_steps, print_json, say
from mlpconv.errors import NetworkError, RunError

if TYPE_CHECKING:
    from mlpconv.runs.classifier_file import StoredClassifier


def convert(
    source: Annotated[
        Path,
        Argument(
            metavar="SOURCE",
            help="A run, a classifier (.safetensors), or weights: PyTorch's .pt, .pth or .safetensors, Keras' .keras "
            "or .weights.h5, Gluon's .params, Flax's .msgpack.",
        ),
    ],
    out: Annotated[
        Path,
        Option(metavar="FILE", help="What to write: a classifier (.safetensors), or weights: .pt, .keras or .params."),
    ],
    model: Annotated[
        str | None,
        Option(
            help="The network that the weights are of: a name, a JSON file, or module:function. A run and a classifier "
            "say it themselves."
        ),
    ] = None,
    data: Annotated[
        str | None, Option(help="The data set that it was trained on: gives class names and size of the images.")
    ] = None,
    class_names: Annotated[
        str | None, Option(metavar="A,B,…", help="The names of the classes in order; 0,1,2 … by default.")
    ] = None,
    image_size: Annotated[
        int | None, Option(help="Side in pixels to which images are resized; the network's own by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Move weights between runs, classifiers, and what PyTorch, Keras, Gluon and Flax save.

    The values of the images go into the network as they are, 0 to 1, as in the chapter, unless SOURCE says otherwise.
    Nothing in SOURCE is executed.

    Example: mlpconv convert nin.pt --model nin --data fashion-mnist --out nin.safetensors
    """
    from mlpconv.arch.shapes import show
    from mlpconv.convert import WRITTEN, write_weights
    from mlpconv.runs.classifier_file import SUFFIX, write_classifier

    if out.suffix not in (SUFFIX, *WRITTEN):
        raise RunError(f"--out {out}: give a name that ends in {SUFFIX}, or in {', '.join(WRITTEN)} for weights alone")
    if out.exists():
        raise RunError(f"--out {out}: is there already; choose another name, or remove it")
    stored = _stored(source) if model is None else _read(source, model, data, class_names, image_size)
    if model is None and (data or class_names or image_size):
        raise RunError(f"{source}: says its classes and sizes itself; leave --data, --class-names and --image-size out")
    network, names, weights = stored.network, stored.class_names, stored.weights
    try:
        if out.suffix == SUFFIX:
            write_classifier(
                out, weights, network, stored.preprocess, names, data=stored.data, background=stored.background
            )
        else:
            write_weights(out, network, weights)
    except OSError as error:
        raise RunError(f"--out {out}: cannot be written: {error.strerror or error}; give another place") from None
    parameters = sum(value.size for value in weights.values())
    if json:
        print_json(
            {
                "file": str(out),
                "network": network.name,
                "digest": network.digest,
                "input_shape": network.input_shape,
                "class_names": names,
                "data": stored.data or None,
            }
        )
        return
    say(f"{out}: {network.name} for images of {show(network.input_shape)}, {parameters:,} values, {len(names)} classes")
    if out.suffix == SUFFIX:
        next_steps(
            (f"mlpconv evaluate {out}" + ("" if stored.data else " --data NAME"), "its accuracy on the test set"),
            (f"mlpconv predict {out} IMAGE…", "names and probabilities for images"),
        )


def _stored(source: Path) -> "StoredClassifier":
    """A run or a classifier."""
    from mlpconv.runs.classifier_file import SUFFIX, read_classifier
    from mlpconv.runs.run import Run

    if source.is_dir() or str(source) == "latest":
        return Run(source).stored()
    if source.suffix != SUFFIX and source.is_file():
        raise RunError(f"{source}: holds weights alone; say of which network: --model nin")
    return read_classifier(source)


def _read(
    source: Path, model: str, data: str | None, class_names: str | None, image_size: int | None
) -> "StoredClassifier":
    """Weights from elsewhere, with what the options say of them."""
    from mlpconv.arch.network import Preprocess
    from mlpconv.arch.shapes import num_classes
    from mlpconv.convert import read_weights
    from mlpconv.data import dataset_source
    from mlpconv.models import create_model
    from mlpconv.runs.classifier_file import StoredClassifier

    known = dataset_source(data) if data else None
    names = tuple(name.strip() for name in class_names.split(",")) if class_names else known and known.class_names
    if names and (len(set(names)) < len(names) or "" in names):
        raise RunError(f"--class-names {class_names}: each class has one name of its own, such as cat,dog")
    network = create_model(model, len(names) if names else None, known.image_shape[2] if known else None)
    names = names or tuple(map(str, range(num_classes(network))))
    if network.input_channels not in (1, 3):
        raise NetworkError(f"{model}: takes {network.input_channels} channels; images have 1 (grey) or 3 (RGB)")
    if image_size is not None and image_size < 1:
        raise NetworkError(f"--image-size {image_size}: expected at least 1 pixel")
    side = image_size or max(network.input_size)
    network = network.replace(input_size=(side, side))
    weights = read_weights(network, source)
    preprocess = Preprocess(
        size=side,
        mode="L" if network.input_channels == 1 else "RGB",
        mean=(0.0,) * network.input_channels,
        std=(1.0,) * network.input_channels,
        source_size=known.image_shape[:2] if known else None,
    )
    return StoredClassifier(source, network, preprocess, names, weights, data or "")
