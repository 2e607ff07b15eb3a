"""``mlpconv convert``: weights to and from the files of other programs, such as the chapter's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from typer import Argument, Option

from mlpconv.cli.output import Json, next_steps, print_json, say
from mlpconv.convert import WRITTEN_SUFFIXES, describe_formats
from mlpconv.errors import NetworkError, RunError

if TYPE_CHECKING:
    from mlpconv.runs.classifier_file import StoredClassifier


class _Given(NamedTuple):
    """The options about the network of the weights, and the images that it takes."""

    model: str | None
    data: str | None
    class_names: str | None
    image_size: int | None
    input_channels: int | None


def convert(
    source: Annotated[
        Path,
        Argument(
            metavar="SOURCE",
            help=f"A run, a classifier (.safetensors), or weights: {describe_formats()}.",
        ),
    ],
    out: Annotated[
        Path,
        Option(
            metavar="FILE",
            help=f"File to write: a classifier (.safetensors), or weights: {describe_formats(written=True)}.",
        ),
    ],
    model: Annotated[
        str | None,
        Option(
            help="The network of the weights: a name, a JSON file, or module:function. Not needed for a run or a "
            "classifier."
        ),
    ] = None,
    data: Annotated[
        str | None, Option(help="The data set it was trained on, which gives the class names and the image size.")
    ] = None,
    class_names: Annotated[
        str | None, Option(metavar="A,B,…", help="Names of the classes in order; by default 0,1,2 …")
    ] = None,
    image_size: Annotated[
        int | None, Option(help="Side in pixels to resize images to; by default the network's own.")
    ] = None,
    input_channels: Annotated[
        int | None, Option(help="Channels of the images; by default those of --data, or the network's own.")
    ] = None,
    by_shape: Annotated[
        bool,
        Option(
            "--by-shape",
            help="Match the layers of your own class by type and shape, if their names are unknown; an error where "
            "that is ambiguous.",
        ),
    ] = False,
    names: Annotated[
        Literal["mlpconv", "chapter", "collect-params"],
        Option(
            help="Names in a file of weights: those of mlpconv's layers, those of the chapter's own network "
            "(0.0.weight; Keras: nested models), or those of Gluon's collect_params (conv0_weight)."
        ),
    ] = "mlpconv",
    json: Json = False,
) -> None:
    """Convert weights between runs, classifiers, and files of other programs, such as PyTorch and Keras.

    SOURCE is recognized by its content; its name does not matter. Unless SOURCE specifies otherwise, the network
    receives pixel values from 0 to 1, as in the chapter. No code in SOURCE is executed.

    Example: mlpconv convert nin.pt --model nin --data fashion-mnist --out nin.safetensors
    """
    from mlpconv.arch.shapes import show
    from mlpconv.convert import write_weights
    from mlpconv.files import unwritable
    from mlpconv.runs.classifier_file import SUFFIX, write_classifier

    if not out.name.endswith((SUFFIX, *WRITTEN_SUFFIXES)):
        raise RunError(
            f"--out {out}: expected a name that ends in {SUFFIX}, or in {', '.join(WRITTEN_SUFFIXES)} for weights only"
        )
    if out.exists():
        raise RunError(f"--out {out}: already exists; choose another name, or remove it")
    if out.suffix == SUFFIX and names != "mlpconv":
        raise RunError(f"--names {names}: a classifier has mlpconv's names; choose {' or '.join(WRITTEN_SUFFIXES)}")
    given = _Given(model, data, class_names, image_size, input_channels)
    stored = _stored(source) if model is None else _read(source, given, by_shape)
    if model is None and any(value is not None for value in given):
        raise RunError(
            f"{source}: contains its own classes and sizes; omit --data, --class-names, --image-size and "
            "--input-channels"
        )
    network, labels, weights = stored.network, stored.class_names, stored.weights
    try:
        if out.suffix == SUFFIX:
            write_classifier(
                out, weights, network, stored.preprocess, labels, data=stored.data, background=stored.background
            )
        else:
            write_weights(out, network, weights, names=names)
    except OSError as error:
        raise RunError(unwritable(f"--out {out}", error)) from None
    parameters = sum(value.size for value in weights.values())
    if json:
        print_json(
            {
                "file": str(out),
                "network": network.name,
                "digest": network.digest,
                "input_shape": network.input_shape,
                "class_names": labels,
                "data": stored.data or None,
            }
        )
        return
    say(
        f"{out}: {network.name} for images of {show(network.input_shape)}, {parameters:,} values, {len(labels)} classes"
    )
    if out.suffix == SUFFIX:
        next_steps(
            (f"mlpconv evaluate {out}" + ("" if stored.data else " --data NAME"), "accuracy on the test set"),
            (f"mlpconv predict {out} IMAGE…", "names and probabilities for images"),
        )


def _stored(source: Path) -> "StoredClassifier":
    """The classifier of a run or of a file."""
    from mlpconv.convert import FORMATS
    from mlpconv.convert.recognize import describe_other, is_safetensors, is_tensorflow, read_head
    from mlpconv.runs.classifier_file import SUFFIX, read_classifier
    from mlpconv.runs.run import Run

    if (source.is_dir() and not is_tensorflow(source, b"")) or str(source) == "latest":
        return Run(source).stored()
    if is_tensorflow(source, b""):
        raise RunError(f"{source}: contains only weights; name their network: --model nin")
    if source.suffix != SUFFIX and source.is_file() and not is_safetensors(source, head := read_head(source)):
        known = any(known.recognize(source, head) for known in FORMATS)
        if not known and (other := describe_other(source, head)):
            raise RunError(f"{source}: this is {other}")
        raise RunError(f"{source}: contains only weights; name their network: --model nin")
    return read_classifier(source)


def _read(source: Path, given: _Given, by_shape: bool) -> "StoredClassifier":
    """Weights of another program, with the network and classes from the options."""
    from mlpconv.arch.preprocess import Preprocess
    from mlpconv.arch.shapes import num_classes
    from mlpconv.convert import input_scale, read_weights
    from mlpconv.data import dataset_source
    from mlpconv.models import create_model
    from mlpconv.runs.classifier_file import StoredClassifier

    assert given.model is not None
    known = dataset_source(given.data) if given.data else None
    names = tuple(name.strip() for name in given.class_names.split(",")) if given.class_names else None
    names = names or (known and known.class_names)
    if names and (len(set(names)) < len(names) or "" in names):
        raise RunError(f"--class-names {given.class_names}: expected a different name for each class, such as cat,dog")
    channels = given.input_channels
    if known and channels not in (None, known.image_shape[2]):
        raise RunError(
            f"--input-channels {channels}: the images of {given.data} have {known.image_shape[2]}; omit one of the two"
        )
    network = create_model(
        given.model, len(names) if names else None, known.image_shape[2] if known else given.input_channels
    )
    names = names or tuple(map(str, range(num_classes(network))))
    if network.input_channels not in (1, 3):
        raise NetworkError(f"{given.model}: takes {network.input_channels} channels; images have 1 (gray) or 3 (RGB)")
    if given.image_size is not None and given.image_size < 1:
        raise NetworkError(f"--image-size {given.image_size}: expected at least 1 pixel")
    side = given.image_size or max(network.input_size)
    network = network.replace(input_size=(side, side))
    weights = read_weights(network, source, by_shape=by_shape)
    mean, std = input_scale(network, source)
    preprocess = Preprocess(
        size=side,
        mode="L" if network.input_channels == 1 else "RGB",
        mean=mean,
        std=std,
        source_size=known.image_shape[:2] if known else None,
    )
    return StoredClassifier(source, network, preprocess, names, weights, given.data or "")
