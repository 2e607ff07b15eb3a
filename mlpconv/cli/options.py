"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlpconv.backends.registry import backend_help

BACKENDS = backend_help()
"""The registered back ends, as help strings list them."""

RunPath = Annotated[str, Argument(metavar="RUN", help="A run directory, 'latest', or a .safetensors file.")]
AnyClassifier = Annotated[
    str, Argument(metavar="RUN", help="A run directory, 'latest', or a .safetensors or .onnx file.")
]
Backend = Annotated[
    str | None,
    Option(
        help=f"Back end: {BACKENDS}; by default the one that trained the network. For an ONNX file: onnxruntime or "
        "openvino; by default openvino on a CPU if it is installed.",
        show_default=False,
    ),
]
NewBackend = Annotated[
    str | None, Option(help=f"Back end: {BACKENDS}; by default the first that is installed.", show_default=False)
]
Device = Annotated[str | None, Option(help="Device: cpu, cuda, cuda:1 …; by default a GPU if there is one.")]
Precision = Annotated[str | None, Option(help="Precision: float32 or bfloat16; by default the fastest on this device.")]
DataDir = Annotated[Path | None, Option(help="Directory that holds the files of the data set.")]
Invert = Annotated[bool, Option("--invert", help="Swap light and dark in each image first.")]
MAX_PIXELS_HELP = "Most pixels of an image file; larger ones are refused (default: 89,478,485)."
MaxPixels = Annotated[
    int | None,
    Option(min=1, max=(1 << 31) - 1, help="Most pixels of an image file; by default as in training."),
]
ExecutorAddress = Annotated[
    str | None,
    Option(
        "--executor",
        metavar="WHERE",
        help="Do several jobs at once: local (a process for each processor), local:N, or on a Dask cluster: the "
        "address of its scheduler, such as tcp://HOST:8786, or the .json file that it writes.",
    ),
]
RecipeName = Annotated[str, Argument(help="A recipe's name or a TOML file.")]
