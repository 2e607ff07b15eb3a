"""A classifier as a model repository of Triton Inference Server, which KServe loads, too.

REPOSITORY/NAME/config.pbtxt   inputs, outputs, batching
REPOSITORY/NAME/labels.txt     the class names, one a line
REPOSITORY/NAME/1/model.onnx   the ONNX model
"""

import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import output_shape
from mlpconv.errors import MlpconvError, NetworkError
from mlpconv.files import unwritable
from mlpconv.formatting import printable
from mlpconv.inference.onnx_model import CLASS_MAPS, INPUT, LABEL, LOGITS, PROBABILITIES

CONFIG, LABELS, MODEL = "config.pbtxt", "labels.txt", Path("1", "model.onnx")
"""The files of a model."""
MAX_BATCH = 64
"""The most images of a request, and of requests that the server joins."""


def model_name(name: str) -> str:
    """A name that Triton accepts in its addresses: letters, digits and _ - . only."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).strip(".") or "model"


def labels(class_names: tuple[str, ...]) -> str:
    """The class names, one a line: a line end in a name is escaped."""
    return "".join(f"{printable(name)}\n" for name in class_names)


def config(name: str, network: Network, classes: int) -> str:
    """The configuration of a model, in the text format of protocol buffers.

    Args:
        name: The name of the model.
        network: The network.
        classes: The number of classes.
    """
    outputs = [(PROBABILITIES, "FP32", [classes]), (LABEL, "STRING", [1]), (LOGITS, "FP32", [classes])]
    with suppress(NetworkError):  # not all networks have class maps
        outputs.append((CLASS_MAPS, "FP32", list(output_shape(until_class_maps(network)[0]))))
    described = [_tensor("input", INPUT, "UINT8", [-1, -1, -1])]
    described += [
        _tensor("output", output, type_, dims, LABELS if output == PROBABILITIES else "")
        for output, type_, dims in outputs
    ]
    return "".join(
        [
            "# Images are uint8 (batch, height, width, channels): of any size, gray or RGB, with or without alpha.\n",
            f"name: {json.dumps(name)}\n",
            'backend: "onnxruntime"\n',
            f"max_batch_size: {MAX_BATCH}\n",
            *described,
            "# Requests with images of one size are computed together.\n",
            "dynamic_batching { max_queue_delay_microseconds: 1000 }\n",
        ]
    )


def _tensor(kind: str, name: str, type_: str, dims: list[int], labels: str = "") -> str:
    lines = [f'name: "{name}"', f"data_type: TYPE_{type_}", f"dims: {dims}"]
    lines += [f'label_filename: "{labels}"'] if labels else []
    return f"{kind} [\n  {{\n" + "".join(f"    {line}\n" for line in lines) + "  }\n]\n"


def write_repository(repository: Path, name: str, files: dict[str | Path, str | bytes]) -> Path:
    """Write a model into a repository, whole or not at all, and return its directory.

    Args:
        repository: The repository; it is created unless it exists.
        name: The name of the model.
        files: The content of its files by their paths in its directory.

    Raises:
        MlpconvError: The repository has a model of this name, or cannot be written.
    """
    directory = repository / name
    if os.path.lexists(directory):
        raise MlpconvError(f"--out {repository}: already has {name}; remove {directory}, or choose another directory")
    made = not repository.exists()
    temporary = None
    try:
        repository.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=repository))
        for path, content in files.items():
            file = temporary / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.chmod(0o755)
        temporary.rename(directory)
    except OSError as error:
        raise MlpconvError(unwritable(f"--out {repository}", error)) from None
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
        if made and repository.is_dir() and not any(repository.iterdir()):
            repository.rmdir()
    return directory
