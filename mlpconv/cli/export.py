"""``mlpconv export``: a trained classifier as a file for use elsewhere."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from mlpconv.cli.options import RunPath
from mlpconv.cli.output import Json, next_steps, print_json, print_progress, say, warn, write_file


def export(
    run: RunPath,
    to: Annotated[
        Literal["html"],
        Option(help="The kind of file: html is a page that classifies pictures in a browser, offline."),
    ],
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="File to write; by default in the run directory, with its name."),
    ] = None,
    weights: Annotated[
        Literal["float16", "float32"] | None,
        Option(
            help="Type of the weights: by default float16, or float32 if float16 changes a probability by more than "
            "0.002.",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        bool | None,
        Option(
            "--examples/--no-examples",
            help="Include a few test images of the run; by default only for data sets that are known by name.",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[bool, Option("--open", help="Open the file in the browser.")] = False,
    json: Json = False,
) -> None:
    """Export a trained network with its preprocessing and class names as one file that needs nothing else.

    The exported weights are compared with the run's on images before the file is written. PyTorch is not needed.

    Example: mlpconv export latest --to html
    """
    from mlpconv.export.html import export_html
    from mlpconv.formatting import format_bytes, format_number

    if not json:
        print_progress("comparing the exported weights with the original ones …")
    exported = export_html(run, weights=weights, examples=examples)
    if out is None:
        path = exported.source
        out = path / f"{path.resolve().name}.{to}" if path.is_dir() else path.with_suffix(f".{to}")
    write_file(out, exported.page, "--out")
    size, compared = len(exported.page.encode()), exported.comparison
    if not exported.finished:
        warn("the run is not finished: these are the weights of its last epoch so far")
    if json:
        print_json(
            {
                "run": str(exported.source),
                "file": str(out),
                "bytes": size,
                "weights": exported.weights,
                "largest_difference": compared.difference,
                "compared_images": compared.images,
                "real_images": exported.real_images,
                "examples": exported.examples,
            }
        )
    else:
        kind = "test image" if exported.real_images else "synthetic image"
        say(f"{out}: {format_bytes(size)}, weights in {exported.weights}")
        say(
            f"  probabilities differ from the original ones by at most {compared.difference:.1g} "
            f"({format_number(compared.images, kind)})"
        )
        if exported.examples:
            say(f"  includes {format_number(exported.examples, 'test image')} (--no-examples leaves them out)")
        next_steps((f"xdg-open {out}", "open it; or send it to anyone with a browser"))
    if open_:
        import webbrowser

        if not webbrowser.open(out.resolve().as_uri()):
            warn(f"--open: no browser found; open {out} yourself")
