"""``mlpconv export``: a trained classifier as a file for use elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from typer import Option

from mlpconv.cli.options import DataDir, RunPath
from mlpconv.cli.output import Download, Json, next_steps, print_json, print_progress, say, warn, write_file
from mlpconv.errors import MlpconvError

if TYPE_CHECKING:
    from mlpconv.export.onnx_file import OnnxExport
    from mlpconv.export.onnx_int8 import Quantized
    from mlpconv.export.rounding import Comparison

Target = Literal["html", "onnx", "triton", "torch", "keras", "mxnet"]
_SUFFIXES: dict[Target, str] = {"torch": ".pt2", "mxnet": ".params", "triton": "-triton"}
"""What the name of a file ends in, where that is not the kind of the file."""
_TARGETS_OF: dict[str, tuple[Target, ...]] = {
    "--weights": ("html",),
    "--examples": ("html",),
    "--open": ("html",),
    "--license": ("onnx", "triton"),
    "--int8": ("onnx", "triton"),
    "--max-drop": ("onnx", "triton"),
    "--data-dir": ("onnx", "triton"),
}
"""The kinds of files that an option is for."""
DEFAULT_MAX_DROP = 0.005
"""The largest drop of the accuracy in int8 that is accepted."""


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
        Literal["int8", "float16", "float32"] | None,
        Option(
            help="html: type of the weights: by default float16, or float32 if float16 changes a probability by more "
            "than 0.002; int8 halves the file again, and is refused past 0.05.",
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
    int8: Annotated[
        bool,
        Option(
            "--int8",
            help="onnx, triton: 8-bit weights and activations, calibrated on training images of the run: a quarter of "
            "the size, and on many processors faster.",
        ),
    ] = False,
    max_drop: Annotated[
        float | None,
        Option(
            min=0,
            max=1,
            help="With --int8: the largest drop of the test accuracy that is accepted (default: 0.005).",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
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
        "--int8": int8,
        "--max-drop": max_drop is not None,
        "--data-dir": data_dir is not None,
    }
    for option, targets in _TARGETS_OF.items():
        if given[option] and to not in targets:
            raise MlpconvError(f"{option}: is for --to {' and '.join(targets)} only; leave it out for --to {to}")
    if max_drop is not None and not int8:
        raise MlpconvError("--max-drop: is for --int8 only")
    drop = (DEFAULT_MAX_DROP if max_drop is None else max_drop) if int8 else None
    if not json and to not in ("keras", "mxnet"):
        _check_run(run)
        print_progress("comparing the exported network with the original one …")
    match to:
        case "html":
            written = _html(run, out, weights, examples, json)
        case "onnx":
            written = _onnx(run, out, license_, drop, data_dir, json)
        case "triton":
            written = _triton(run, out, license_, drop, data_dir, json)
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


def _check_run(run: str) -> None:
    """Raise RunError if there is no such run, before anything is said."""
    from mlpconv.inference.classifier import is_file
    from mlpconv.runs.run import Run

    if not is_file(run):
        Run(run)


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


def _onnx(
    run: str, out: Path | None, license_: str | None, drop: float | None, data_dir: Path | None, json: bool
) -> _Written:
    from mlpconv.export.onnx_file import export_onnx

    exported = export_onnx(run, license=license_)
    small = None if drop is None else _int8(run, exported, drop, data_dir)
    content = small.content if small else exported.content
    out = out or _default(exported.source, "onnx")
    write_file(out, content, "--out")
    if not json:
        _say_model(out, exported, small)
        next_steps(
            (f"mlpconv predict {out} IMAGE…", "classify images with ONNX Runtime, without PyTorch"),
            (f"mlpconv evaluate {out}" + ("" if exported.public else " --data FOLDER"), "measure it on labeled images"),
        )
    return _Written(exported.source, out, _model_facts(exported, small), exported.finished)


def _int8(run: str, exported: "OnnxExport", max_drop: float, data_dir: Path | None) -> "Quantized":
    """The model in int8, measured on the images of the run."""
    import tempfile

    from mlpconv.export.onnx_int8 import quantize
    from mlpconv.export.source import open_source
    from mlpconv.inference.classifier import Classifier
    from mlpconv.jobs.run_data import reload_run_data

    stored = open_source(run).stored
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        path.write_bytes(exported.content)
        classifier = Classifier(path)
    classifier.stored = stored  # whose images are loaded
    with Download() as progress:
        train, test = (
            reload_run_data(classifier, None, split, directory=data_dir, progress=progress).dataset
            for split in ("train", "test")
        )
    print_progress("calibrating the ranges of the activations, and measuring the result …")
    return quantize(exported, stored, train, test, max_drop)


def _model_facts(exported: "OnnxExport", small: "Quantized | None") -> dict[str, Any]:
    """For --json. The comparison is that of the model in float32."""
    facts = {
        "bytes": len(small.content if small else exported.content),
        "weights": "int8" if small else "float32",
        **_compared(exported.comparison, exported.real_images),
    }
    if small:
        facts["int8"] = {
            "method": small.method,
            "images": small.images,
            "accuracy": {"float32": small.accuracy[0], "int8": small.accuracy[1]},
            "milliseconds": [
                {"batch": batch, "float32": before, "int8": after}
                for batch, (before, after) in small.milliseconds.items()
            ],
        }
    return facts


def _say_model(place: Path, exported: "OnnxExport", small: "Quantized | None") -> None:
    from mlpconv.formatting import format_bytes, format_number

    if small is None:
        say(f"{place}: {format_bytes(len(exported.content))}, weights in float32")
        _say_compared(exported.comparison, exported.real_images)
        return
    size = format_bytes(len(exported.content))
    say(f"{place}: {format_bytes(len(small.content))} in int8 ({size} in float32), calibrated by {small.method}")
    before, after = small.accuracy
    say(f"  accuracy {after:.4f} ({before:.4f} in float32; {format_number(small.images, 'test image')})")
    for batch, (old, new) in small.milliseconds.items():
        images = "one image at a time" if batch == 1 else f"{batch} images at a time"
        say(f"  {images}: {new:.3g} ms an image ({old:.3g} ms in float32)")
    if any(new > old for old, new in small.milliseconds.values()):
        warn("int8 is slower than float32 on this processor; export without --int8 for processors like it")


def _triton(
    run: str, out: Path | None, license_: str | None, drop: float | None, data_dir: Path | None, json: bool
) -> _Written:
    from mlpconv.export import triton
    from mlpconv.export.onnx_file import export_onnx
    from mlpconv.export.source import open_source

    exported = export_onnx(run, license=license_, labels=True)
    small = None if drop is None else _int8(run, exported, drop, data_dir)
    stored = open_source(run).stored
    path = exported.source
    out = out or _default(path, "triton")
    name = triton.model_name(path.resolve().name if path.is_dir() else path.stem)
    files: dict[str | Path, str | bytes] = {
        triton.CONFIG: triton.config(name, stored.network, len(stored.class_names)),
        triton.LABELS: triton.labels(stored.class_names),
        triton.MODEL: small.content if small else exported.content,
    }
    directory = triton.write_repository(out, name, files)
    if not json:
        _say_model(directory, exported, small)
        next_steps((f"tritonserver --model-repository {out.resolve()}", "serve it with Triton"))
    facts = {"model": name, **_model_facts(exported, small)}
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
