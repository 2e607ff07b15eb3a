"""``mlpconv convert``: weights that the chapter's own code saved, as a classifier of ours."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.output import Json, next_steps, print_json, say
from mlpconv.errors import NetworkError, RunError


def convert(
    source: Annotated[Path, Argument(metavar="SOURCE", help="A state_dict: .pt, .pth or .safetensors.")],
    model: Annotated[str, Option(help="The network that the weights are of: a name, a JSON file, or module:function.")],
    out: Annotated[Path, Option(metavar="FILE", help="The classifier to write, a .safetensors file.")],
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
    """Make a classifier of a state_dict that PyTorch saved, such as one of the chapter's own code.

    The values of the images go into the network as they are, 0 to 1, as in the chapter. Nothing in SOURCE is executed.

    Example: mlpconv convert nin.pt --model nin --data fashion-mnist --out nin.safetensors
    """
    from mlpconv.arch.network import Preprocess
    from mlpconv.arch.shapes import num_classes, show
    from mlpconv.convert import from_state_dict, read_torch_file
    from mlpconv.data import dataset_source
    from mlpconv.models import create_model
    from mlpconv.runs.stored import SUFFIX, write_classifier

    if out.suffix != SUFFIX:
        raise RunError(f"--out {out}: give a name that ends in {SUFFIX}")
    if out.exists():
        raise RunError(f"--out {out}: is there already; choose another name, or remove it")
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
    weights = from_state_dict(network, read_torch_file(source), str(source))
    preprocess = Preprocess(
        size=side,
        mode="L" if network.input_channels == 1 else "RGB",
        mean=(0.0,) * network.input_channels,
        std=(1.0,) * network.input_channels,
        source_size=known.image_shape[:2] if known else None,
    )
    try:
        write_classifier(out, weights, network, preprocess, names, data=data or "")
    except OSError as error:
        raise RunError(f"--out {out}: cannot be written: {error.strerror or error}; give another place") from None
    parameters = sum(value.size for value in weights.values())
    if json:
        print_json(
            {
                "file": str(out), "network": network.name, "digest": network.digest, "input_shape": network.input_shape,
                "class_names": names, "data": data,
            }
        )  # fmt: skip
        return
    say(f"{out}: {network.name} for images of {show(network.input_shape)}, {parameters:,} values, {len(names)} classes")
    next_steps(
        (f"mlpconv evaluate {out}" + ("" if data else " --data NAME"), "its accuracy on the test set"),
        (f"mlpconv predict {out} IMAGE…", "names and probabilities for images"),
    )
