"""Read the weights of a ``.caffemodel``: Caffe's NetParameter message in the wire format of Protocol Buffers.

The fields and their numbers are those of caffe.proto. A network has layers (100, or 2 in the first version of the
format); a layer has a name (1, or 4), a type (2, or 5) and blobs (7, or 6); a blob has a shape (7) or the sides num,
channels, height and width (1 to 4), and its values (5, or 8 for doubles).
"""

from pathlib import Path

import numpy as np

from mlpconv.arch.network import Network
from mlpconv.convert.layers import ForeignLayer
from mlpconv.convert.protobuf import fields, varints
from mlpconv.convert.state_dict import Array
from mlpconv.errors import WeightsError

_LAYER_FIELDS = {100: (1, 2, 7), 2: (4, 5, 6)}
"""The numbers of a layer's name, type and blobs, by the number of the layers in the network."""
_INNER_PRODUCT = (14, b"InnerProduct")
"""The types of a linear layer."""
_MAX_SHAPE_BYTES = 256
_IMAGENET_MEAN = (122.679, 116.669, 104.007)
"""Red, green, blue: the means of imagenet_mean.binaryproto, which Caffe's networks for ILSVRC 2012 subtract."""


def read_caffe_file(path: Path) -> list[ForeignLayer]:
    """Read the layers that have weights, in their order.

    The weights of a convolution of three channels at the start are reversed from Caffe's BGR to RGB.

    Raises:
        WeightsError: The file is damaged, or contains no weights.
    """
    try:
        layers = _layers(memoryview(path.read_bytes()))
    except (ValueError, OverflowError, OSError, MemoryError) as error:
        raise WeightsError(f"{path}: damaged, or not a .caffemodel ({error}); download or save it again") from None
    if not layers:
        raise WeightsError(f"{path}: contains no weights; give the .caffemodel, not the description of the network")
    first = layers[0].parts["weight"]
    if first.ndim == 4 and first.shape[1] == 3:
        layers[0].parts["weight"] = first[:, ::-1]
    return layers


def caffe_scale(network: Network) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation that turn pixel values from 0 to 1 into Caffe's: 0 to 255, minus a mean.

    The mean is that of ILSVRC 2012 for ``nin_imagenet``, and 0 for other networks, whose mean is not in the file.
    """
    channels = network.input_channels
    known = network.name == "nin_imagenet" and channels == 3
    mean = tuple(value / 255 for value in _IMAGENET_MEAN) if known else (0.0,) * channels
    return mean, (1 / 255,) * channels


def _layers(content: memoryview) -> list[ForeignLayer]:
    layers = []
    for number, value in fields(content):
        if number not in _LAYER_FIELDS or isinstance(value, int):
            continue
        name_field, type_field, blob_field = _LAYER_FIELDS[number]
        name, kind, blobs = "", None, []
        for part, inner in fields(value):
            if part == type_field:
                kind = inner if isinstance(inner, int) else bytes(inner)
            elif part == name_field and not isinstance(inner, int):
                name = bytes(inner).decode()
            elif part == blob_field and not isinstance(inner, int):
                blobs.append(_blob(inner))
        if len(blobs) > 2:
            raise ValueError(f"the layer {name} has {len(blobs)} arrays, which no layer of mlpconv has")
        if blobs:
            weight, *bias = blobs
            # In the first version, every blob has four sides.
            parts = {"weight": weight.reshape(weight.shape[-2:]) if kind in _INNER_PRODUCT else weight}
            if bias:
                parts["bias"] = bias[0].reshape(-1)
            layers.append(ForeignLayer(name, parts, channels_first=True))
    return layers


def _blob(message: memoryview) -> Array:
    sides, shape = [1, 1, 1, 1], None
    values = {5: bytearray(), 8: bytearray()}
    for number, value in fields(message):
        if isinstance(value, int):
            if 1 <= number <= 4:
                sides[number - 1] = value
        elif number == 7:
            if len(value) > _MAX_SHAPE_BYTES:
                raise ValueError(f"a shape of {len(value):,} bytes")
            shape = [
                side
                for field, packed in fields(value)
                if field == 1
                for side in ([packed] if isinstance(packed, int) else varints(packed))
            ]
        elif number in values:  # packed, or one value each
            values[number] += value
    arrays = [np.frombuffer(values[5], "<f4"), np.frombuffer(values[8], "<f8")]
    found = [array for array in arrays if len(array)] or arrays[:1]
    return np.concatenate(found).reshape(sides if shape is None else shape)
