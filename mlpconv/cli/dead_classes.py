"""``mlpconv dead-classes``: why the chapter's network collapses, seen before the first training step."""

from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.options import DataDir, Device, NewBackend
from mlpconv.cli.output import Download, Json, next_steps, print_json, say
from mlpconv.errors import NetworkError


def dead_classes(
    model: Annotated[
        str, Argument(metavar="MODEL", help="A network: a name, a JSON file, or module:function.")
    ] = "nin",
    initializer: Annotated[
        str, Option(help="Initial weights: xavier, he, torch, normal, open or identity.")
    ] = "xavier",
    seeds: Annotated[int, Option(min=1, help="Number of seeds, from 0.")] = 12,
    images: Annotated[int, Option(min=1, help="Number of test images.")] = 64,
    image_size: Annotated[
        int | None, Option(min=1, help="Side in pixels to resize images to; by default the network's own.")
    ] = None,
    data: Annotated[str, Option(help="The data set.")] = "fashion-mnist",
    data_dir: DataDir = None,
    backend: NewBackend = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Count the classes that are dead before training: their maps are 0 everywhere, so they receive no gradient.

    Example: mlpconv dead-classes nin --initializer xavier
    """
    from mlpconv.arch.shapes import show
    from mlpconv.backends.weights import named_initializer
    from mlpconv.data import load_dataset
    from mlpconv.explain.dead_classes import initial_dead_classes
    from mlpconv.models import create_model

    named_initializer(initializer)  # before any download
    with Download() as progress:
        test = load_dataset(data, directory=data_dir, progress=progress).test
    network = create_model(model, test.num_classes, test.image_shape[2])
    if image_size is not None:
        network = network.replace(input_size=(image_size, image_size))
    if network.input_channels != test.image_shape[2]:
        raise NetworkError(
            f"{model}: takes images of {network.input_channels} channels; those of {data} have {test.image_shape[2]}"
        )
    sample = test.images[:images]
    if not json:
        say(
            f"{network.name} with {initializer} weights, before the first training step; "
            f"{len(sample)} test images of {data} at {show(network.input_shape)}\n\n  seed  dead classes"
        )
    rows = []
    for found in initial_dead_classes(network, sample, initializer, range(seeds), backend=backend, device=device):
        names = [test.class_names[index] for index in found.classes]
        rows.append({"seed": found.seed, "dead_classes": names})
        if not json:
            say(f"  {found.seed:4}  {len(names)} of {test.num_classes}" + (f": {', '.join(names)}" if names else ""))
    counts = [len(row["dead_classes"]) for row in rows]
    mean = sum(counts) / len(counts)
    if json:
        print_json(
            {
                "network": network.name,
                "input_shape": network.input_shape,
                "initializer": initializer,
                "data": data,
                "images": len(sample),
                "seeds": rows,
                "mean": mean,
            }
        )
        return
    least, most = min(counts), max(counts)
    share = f"{least} to {most}" if least < most else str(least)
    say(f"\n{share} of {test.num_classes} classes are dead; the mean is {mean:.1f}")
    if not named_initializer(initializer).open_last:
        next_steps((f"mlpconv dead-classes {model} --initializer open", "the start that keeps every class alive"))
