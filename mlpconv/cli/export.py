"""``mlpconv export``: a trained classifier as a file for use elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from typer import Option

from mlpconv.cli.options import RunPath
from mlpconv.cli.output import Json, next_steps, print_json, print_progress, say, warn, write_file
from mlpconv.errors import MlpconvError

if TYPE_CHECKING:
    from mlpconv.export.rounding import Comparison

Target = Literal["html", "onnx", "triton", "torch", "keras", "mxnet"]
_SUFFIXES: dict[Target, str] = {"torch": ".pt2", "mxnet": ".params", "triton": "-triton"}
"""What the name of a file ends in, where that is not the kind of the file."""
_TARGETS_OF: dict[str, tuple[Target, ...]] = {
    "--weights": ("html",),
    "--examples": ("html",),
    "--open": ("html",),
    "--license": ("onnx", "triton"),
}
"""The kinds of files that an option is for."""


class _Written(NamedTuple):
    """What was written."""

    path: Path
    """The run directory or classifier file."""
    out: Path
    facts: dict[str, Any]
    """For --json."""
    finished: bool


def export(
    run: RunPath,
    to: Annotated[
        Target,
        Option(
            help="html: a page that classifies pictures in a browser, offline. onnx: a model with its preprocessing, "
            "for ONNX Runtime and others. triton: a repository for Triton and KServe. torch: a torch.export program. "
            "keras, mxnet: a Keras model, the parameters of a Gluon block.",
        ),
    ],
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="File to write (triton: a directory); by default in the run directory."),
    ] = None,
    weights: Annotated[
        Literal["float16", "float32"] | None,
        Option(
            help="html: type of the weights: by default float16, or float32 if float16 changes a probability by more "
            "than 0.002.",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        bool | None,
        Option(
            "--examples/--no-examples",
            help="html: include a few test images of the run; by default only for data sets that are known by name.",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[bool, Option("--open", help="html: open the file in the browser.")] = False,
    license_: Annotated[
        str | None, Option("--license", metavar="TEXT", help="onnx, triton: license of the model, for its metadata.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a trained network with its preprocessing and class names for use elsewhere.

    What the exported file computes is compared with the run on images before the file is written. PyTorch is needed
    only for --to torch.

    Example: mlpconv export latest --to html
    """
    given = {
        "--weights": weights is not None,
        "--examples": examples is not None,
        "--open": open_,
        "--license": license_ is not None,
    }
    for option, targets in _TARGETS_OF.items():
        if given[option] and to not in targets:
            raise MlpconvError(f"{option}: is for --to {' and '.join(targets)} only; leave it out for --to {to}")
    if not json and to not in ("keras", "mxnet"):
        print_progress("comparing the exported network with the original one …")
    match to:
        case "html":
            written = _html(run, out, weights, examples, json)
        case "onnx":
            written = _onnx(run, out, license_, json)
        case "triton":
            written = _triton(run, out, license_, json)
        case "torch":
            written = _torch(run, out, json)
        case "keras" | "mxnet":
            written = _weights(run, to, out, json)
    if not written.finished:
        warn("the run is not finished: these are the weights of its last epoch so far")
    if json:
        print_json({"run": str(written.path), "to": to, "file": str(written.out), **written.facts})
    if open_:
        import webbrowser

        if not webbrowser.open(written.out.resolve().as_uri()):
            warn(f"--open: no browser found; open {written.out} yourself")


def _default(path: Path, to: Target) -> Path:
    """The file to write for a run directory or a classifier file."""
    suffix = _SUFFIXES.get(to, f".{to}")
    return path / f"{path.resolve().name}{suffix}" if path.is_dir() else path.with_name(f"{path.stem}{suffix}")


def _compared(compared: "Comparison", real_images: bool) -> dict[str, Any]:
    return {
        "largest_difference": compared.difference,
        "compared_images": compared.images,
        "real_images": real_images,
    }


def _say_compared(compared: "Comparison", real_images: bool) -> None:
    from mlpconv.formatting import format_number

    kind = "test image" if real_images else "synthetic image"
    note = "" if real_images else "; no test image is stored with the network"
    say(
        f"  probabilities differ from the original ones by at most {compared.difference:.1g} "
        f"({format_number(compared.images, kind)}){note}"
    )


def _html(run: str, out: Path | None, weights: Any, examples: bool | None, json: bool) -> _Written:
    from mlpconv.export.html import export_html
    from mlpconv.formatting import format_bytes, format_number

    exported = export_html(run, weights=weights, examples=examples)
    out = out or _default(exported.source, "html")
    write_file(out, exported.page, "--out")
    size = len(exported.page.encode())
    if not json:
        say(f"{out}: {format_bytes(size)}, weights in {exported.weights}")
        _say_compared(exported.comparison, exported.real_images)
        if exported.examples:
            say(f"  includes {format_number(exported.examples, 'test image')} (--no-examples leaves them out)")
        next_steps((f"xdg-open {out}", "open it; or send it to anyone with a browser"))
    facts = {
        "bytes": size,
        "weights": exported.weights,
        **_compared(exported.comparison, exported.real_images),
        "examples": exported.examples,
    }
    return _Written(exported.source, out, facts, exported.finished)


def _onnx(run: str, out: Path | None, license_: str | None, json: bool) -> _Written:
    from mlpconv.export.onnx_file import export_onnx
    from mlpconv.formatting import format_bytes

    exported = export_onnx(run, license=license_)
    out = out or _default(exported.source, "onnx")
    write_file(out, exported.content, "--out")
    if not json:
        say(f"{out}: {format_bytes(len(exported.content))}, weights in float32")
        _say_compared(exported.comparison, exported.real_images)
        next_steps(
            (f"mlpconv predict {out} IMAGE…", "classify images with ONNX Runtime, without PyTorch"),
            (f"mlpconv evaluate {out}" + ("" if exported.public else " --data FOLDER"), "measure it on labeled images"),
        )
    facts = {
        "bytes": len(exported.content),
        "weights": "float32",
        **_compared(exported.comparison, exported.real_images),
    }
    return _Written(exported.source, out, facts, exported.finished)


def _triton(run: str, out: Path | None, license_: str | None, json: bool) -> _Written:
    from mlpconv.export import triton
    from mlpconv.export.onnx_file import export_onnx
    from mlpconv.export.source import open_source
    from mlpconv.formatting import format_bytes

    exported = export_onnx(run, license=license_, labels=True)
    stored = open_source(run).stored
    path = exported.source
    out = out or _default(path, "triton")
    name = triton.model_name(path.resolve().name if path.is_dir() else path.stem)
    files: dict[str | Path, str | bytes] = {
        triton.CONFIG: triton.config(name, stored.network, len(stored.class_names)),
        triton.LABELS: triton.labels(stored.class_names),
        triton.MODEL: exported.content,
    }
    directory = triton.write_repository(out, name, files)
    if not json:
        say(f"{directory}: {format_bytes(len(exported.content))}, weights in float32")
        _say_compared(exported.comparison, exported.real_images)
        next_steps((f"tritonserver --model-repository {out.resolve()}", "serve it with Triton"))
    facts = {
        "model": name,
        "bytes": len(exported.content),
        "weights": "float32",
        **_compared(exported.comparison, exported.real_images),
    }
    return _Written(path, out, facts, exported.finished)


def _torch(run: str, out: Path | None, json: bool) -> _Written:
    from mlpconv.export.weights_file import export_torch
    from mlpconv.formatting import format_bytes

    exported = export_torch(run)
    out = out or _default(exported.source, "torch")
    write_file(out, exported.content, "--out")
    if not json:
        say(f"{out}: {format_bytes(len(exported.content))}, a program for torch.export.load")
        _say_compared(exported.comparison, exported.real_images)
    facts = {"bytes": len(exported.content), **_compared(exported.comparison, exported.real_images)}
    return _Written(exported.source, out, facts, exported.finished)


def _weights(run: str, to: Literal["keras", "mxnet"], out: Path | None, json: bool) -> _Written:
    from mlpconv.export.source import open_source
    from mlpconv.export.weights_file import export_weights
    from mlpconv.files import unwritable
    from mlpconv.formatting import format_bytes

    path = open_source(run).stored.path
    out = out or _default(path, to)
    if out.is_dir():
        raise MlpconvError(f"--out {out}: is a directory; expected the name of a file")
    try:
        finished = export_weights(run, to, out)
    except OSError as error:
        raise MlpconvError(unwritable(f"--out {out}", error)) from None
    size = out.stat().st_size
    if not json:
        say(f"{out}: {format_bytes(size)}; the preprocessing and the class names are not part of it")
    return _Written(path, out, {"bytes": size}, finished)
