"""The Open Inference Protocol, version 2, over HTTP: requests to arrays and back, in JSON or with binary tensors."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from mlpconv.backends.base import Floats, Images
from mlpconv.errors import DataError
from mlpconv.serve.model import ServedModel

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_IMAGES = 1024
"""The most images of a request."""
MAX_SIDE = 16_384
"""The longest side of an image: the memory that resizing takes grows with it."""
_Flat = list[Annotated[int, msgspec.Meta(ge=0, le=255)]]


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]]
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Message(msgspec.Struct):
    inputs: list[_Tensor]
    outputs: list[_Output] = []
    parameters: dict[str, Any] = {}
    id: str | None = None


class InferRequest(NamedTuple):
    """A request."""

    images: Images
    """uint8 (N, H, W, C)."""
    outputs: dict[str, bool]
    """The outputs to return, each with whether as binary data."""
    id: str | None


def decode(model: ServedModel, body: bytes, header_length: str | None) -> InferRequest:
    """Read a request.

    Args:
        model: The model that it is for.
        body: The body of the request.
        header_length: The length of the JSON in the body, which binary data follow; None if there are none.

    Raises:
        DataError: The request does not follow the protocol, or is not what the model takes.
    """
    length = len(body)
    if header_length is not None:
        length = int(header_length) if header_length.isdecimal() and len(header_length) < 12 else length + 1
        if length > len(body):
            raise DataError(f"{HEADER_LENGTH}: {header_length[:50]!r}, but the body has {len(body)} bytes")
    try:
        message = msgspec.json.decode(body[:length], type=_Message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"the request: {error}") from None
    if [tensor.name for tensor in message.inputs] != ["images"]:
        raise DataError(f"inputs: expected one, named 'images'; received {[each.name for each in message.inputs][:9]}")
    return InferRequest(_images(model, message.inputs[0], body[length:]), _outputs(model, message), message.id)


def _images(model: ServedModel, tensor: _Tensor, binary: bytes) -> Images:
    shape, channels, size = tensor.shape, model.preprocess.channels, tensor.parameters.get("binary_data_size")
    if tensor.datatype != "UINT8" or len(shape) != 4 or not all(shape):
        raise DataError(
            "images: expected UINT8 (images, height, width, channels), none of them 0; received "
            f"{tensor.datatype[:20]} {shape[:9]}"
        )
    if shape[0] > MAX_IMAGES:
        raise DataError(f"images: {shape[0]} in one request; at most {MAX_IMAGES} are accepted")
    if shape[3] not in (1, 2, 3, 4):
        raise DataError(f"images: {shape[3]} channels; expected {channels}, or 1 to 4: gray or RGB, and alpha")
    if prod(shape[1:3]) > model.preprocess.max_pixels:
        raise DataError(
            f"images: {shape[1]}×{shape[2]} are more than the limit of {model.preprocess.max_pixels:,} pixels"
        )
    if max(shape[1:3]) > MAX_SIDE:
        raise DataError(f"images: {shape[1]}×{shape[2]}; at most {MAX_SIDE:,} pixels are accepted on a side")
    if size is None:
        values = _flat(bytes(tensor.data))
        if binary:
            raise DataError(f"images: {len(binary)} bytes follow the JSON, but binary_data_size is missing")
    elif size != len(binary):
        raise DataError(f"images: binary_data_size is {size!r:.20}, and {len(binary)} bytes follow")
    else:
        values = np.frombuffer(binary, np.uint8)
    if values.size != prod(shape):
        raise DataError(f"images: {values.size} values, but the shape {shape} has {prod(shape)}")
    return values.reshape(shape)


def _flat(data: bytes) -> Images:
    """The values of JSON, which may be nested as the shape is."""
    try:
        return np.array(
            msgspec.json.decode(data.replace(b"]", b"").replace(b"[", b"").join((b"[", b"]")), type=_Flat), np.uint8
        )
    except msgspec.MsgspecError as error:
        raise DataError(f"images: data: {error}") from None


def _outputs(model: ServedModel, message: _Message) -> dict[str, bool]:
    default = message.parameters.get("binary_data_output") is True
    if not message.outputs:
        return dict.fromkeys(model.outputs, default)
    for output in message.outputs:
        if output.name not in model.outputs:
            raise DataError(f"outputs: {output.name[:50]!r} is unknown; there are {', '.join(model.outputs)}")
        if "classification" in output.parameters:
            raise DataError("outputs: 'classification' is not supported; the metadata of the model has the class names")
    return {output.name: output.parameters.get("binary_data", default) is True for output in message.outputs}


def encode(model: ServedModel, request: InferRequest, values: Mapping[str, Floats]) -> tuple[bytes, int | None]:
    """Write the answer to a request: its body, and the length of the JSON in it if binary data follow."""
    outputs, binary = [], []
    for name, as_binary in request.outputs.items():
        value = np.ascontiguousarray(values[name], "<f4")
        if as_binary:
            binary.append(value.tobytes())
        content = {"parameters": {"binary_data_size": value.nbytes}} if as_binary else {"data": value.ravel().tolist()}
        outputs.append({"name": name, "datatype": "FP32", "shape": value.shape, **content})
    answer = {"model_name": model.name, "model_version": "1", "outputs": outputs}
    if request.id is not None:
        answer["id"] = request.id
    text = msgspec.json.encode(answer)
    return b"".join((text, *binary)), len(text) if binary else None
