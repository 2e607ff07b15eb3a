import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from mlpconv.arch.cost import count
from mlpconv.arch.layers import Conv2d, Flatten
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import StepPlan
from mlpconv.backends.pytorch.model import TorchModel
from mlpconv.bench import peak
from mlpconv.bench.contest import Job
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer


def executed_in_a_step(source, size, batch):
    """FLOPs that PyTorch counts in one training step of ``batch`` images."""
    network = create_model("nin")
    model = TorchModel(network, Preprocess(size=size), Optimizer(), "float32", "cpu")
    model.attach(np.zeros((batch, *source, 1), np.uint8), np.zeros(batch, np.int64))
    # PyTorch's counter does not know oneDNN's convolution followed by an activation.
    fused = {torch.ops.mkldnn._convolution_pointwise: lambda x, w, *_, out_shape: conv_flop_count(x, w, out_shape)}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        model.train_step(StepPlan(np.arange(batch), size, 0.1, 0))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("source", "size", "batches"),
    [
        pytest.param((28, 28), 112, (2, 4), id="folded"),
        pytest.param((14, 28), 112, (2, 4), id="folded-by-two-factors"),
        pytest.param((28, 28), 160, (1, 2), id="fast-FIR"),
        pytest.param((28, 28), 80, (2, 4), id="not-folded"),
        pytest.param((28, 28), 140, (32, 36), id="winograd"),
    ],
)
def test_executed_flops_agree_with_pytorch(source, size, batches):
    network = create_model("nin")
    fewer, more = (executed_in_a_step(source, size, batch) for batch in batches)
    # What any batch costs once, as making the folded kernel, is not in the difference.
    each = (more - fewer) / (batches[1] - batches[0])
    # Enlarging the images to the knots of a folded convolution, which is not counted, needs few operations.
    assert 0 <= each - peak.executed_flops(network, source, size, batches[1]) < 2e-4 * each
    if size == 80:
        # Block 2 gives 7 × 7 of its 8 × 8 positions: pooling reads no more.
        unread = count(network, (1, 80, 80)).layers
        unread = sum(2 * (layer.macs + layer.backward_macs) for layer in unread if layer.name.startswith("block2"))
        assert each == peak.nominal_flops(network, size) - unread * 15 // 64


def test_the_chapters_network_at_its_own_size():
    network = create_model("nin")
    nominal = peak.nominal_flops(network, 224)
    in_bfloat16, in_float32 = (
        peak.executed_flops(network, (28, 28), 224, 128, precision) for precision in ("bfloat16", "float32")
    )
    assert nominal == 4_506_039_600
    # Each output reads 4 × 4 knots, not 11 × 11 pixels; forward and weight gradient, 2 FLOPs a MAC.
    folded = 4 * 96 * (54 * 54 * 11 * 11 - 53 * 53 * 4 * 4)
    # Pooling reads 53 × 53 of block 1's 54 × 54 positions, 25 × 25 of block 2's 26 × 26, 11 × 11 of block 3's 12 × 12.
    block1 = 6 * 96 * (54 * 54 - 53 * 53) * (96 + 96)
    block2 = 6 * 256 * (26 * 26 - 25 * 25) * (96 * 25 + 256 + 256)
    # 13 even and 12 odd rows of the 5 × 5 convolution, from 13 · 3 + 13 · 2 + 12 · 3 rows of products, not 125.
    fast = 6 * 256 * 25 * 96 * 5 * (125 - 101)
    block3 = 6 * 384 * (12 * 12 - 11 * 11) * (256 * 9 + 384 + 384)
    assert nominal - in_bfloat16 == folded + block1 + block2 + block3 + fast
    # 5 × 5 tiles of 9 × 9 points for the 5 × 5 convolution, 2 × 2 of 8 × 8 for the 3 × 3 one, and their transforms.
    direct = 6 * (256 * 25 * 25 * 96 * 25 + 384 * 11 * 11 * 256 * 9)
    block2 = 25 * (6 * 81 * 96 * 256 + 6 * (2 * 9**3) * 96 + 4 * (9 * 5 * 9 + 9 * 5 * 5) * 256)
    block3 = 4 * (6 * 64 * 256 * 384 + 6 * (2 * 8**3) * 256 + 4 * (8 * 6 * 8 + 8 * 6 * 6) * 384)
    assert in_float32 == in_bfloat16 + fast - direct + block2 + block3


def test_share_of_peak():
    assert peak.share_of_peak(200.0, 2_500_000_000, 0.5) == pytest.approx(1.0)
    assert peak.share_of_peak(100.0, 2_500_000_000, 1.0) == pytest.approx(0.25)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_is_measured_in_the_precision_of_the_device(monkeypatch, precision):
    from mlpconv.backends import allocator
    from mlpconv.backends.pytorch.backend import TorchBackend

    monkeypatch.setattr(TorchBackend, "choose", lambda self, device, asked: ("cpu", precision))
    monkeypatch.setattr(allocator, "keep_memory", lambda: False)
    dtypes = []
    matmul = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b, out: dtypes.append(a.dtype) or matmul(a, b, out=out))
    measured = peak.measure(Job(batch_size=1, image_size=80, steps=1, warmup=1, threads=1, peak_size=16))
    assert 1e-6 < measured["float32"] < 100
    assert (measured["bfloat16"] is None) == (precision == "float32")
    expected = {torch.float32} if precision == "float32" else {torch.float32, torch.bfloat16}
    assert set(dtypes) == expected


def test_depthwise_convolutions_are_executed_as_they_are_written():
    network = Network(Conv2d(64, 5, padding=2, depthwise=True), Flatten(), input_channels=64, input_size=40)
    assert peak.executed_flops(network, (40, 40), 40, 8) == peak.nominal_flops(network, 40)
