import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from mlpconv.arch.cost import count
from mlpconv.arch.network import Preprocess
from mlpconv.backends.base import StepPlan
from mlpconv.backends.pytorch.model import TorchModel
from mlpconv.bench import peak
from mlpconv.bench.contest import Job
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer

BATCH = 4


def executed_in_a_step(source, size):
    """FLOPs that PyTorch counts in one training step of ``BATCH`` images."""
    network = create_model("nin")
    model = TorchModel(network, Preprocess(size=size), Optimizer(), "float32", "cpu")
    model.attach(np.zeros((BATCH, *source, 1), np.uint8), np.zeros(BATCH, np.int64))
    # PyTorch's counter does not know oneDNN's convolution followed by an activation.
    fused = {torch.ops.mkldnn._convolution_pointwise: lambda x, w, *_, out_shape: conv_flop_count(x, w, out_shape)}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        model.train_step(StepPlan(np.arange(BATCH), size, 0.1, 0))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("source", "size"),
    [
        pytest.param((28, 28), 112, id="folded"),
        pytest.param((14, 28), 112, id="folded-by-two-factors"),
        pytest.param((28, 28), 192, id="fast-convolution"),
        pytest.param((28, 28), 80, id="not-folded"),
    ],
)
def test_executed_flops_agree_with_pytorch(source, size):
    network = create_model("nin")
    counted = executed_in_a_step(source, size)
    images_alone = BATCH * peak.executed_flops(network, source, size)
    # What is left is making the folded kernel, forward and backward: the same for any batch.
    assert 0 <= counted - images_alone < 0.02 * counted
    if size == 80:
        # Block 2 gives 7 × 7 of its 8 × 8 positions: pooling reads no more.
        unread = count(network, (1, 80, 80)).layers
        unread = sum(2 * (layer.macs + layer.backward_macs) for layer in unread if layer.name.startswith("block2"))
        assert counted == images_alone == BATCH * (peak.nominal_flops(network, size) - unread * 15 // 64)


def test_the_chapters_network_at_its_own_size():
    network = create_model("nin")
    nominal, executed = peak.nominal_flops(network, 224), peak.executed_flops(network, (28, 28), 224)
    assert nominal == 4_506_039_600
    # Each output reads 4 × 4 knots, not 11 × 11 pixels; forward and weight gradient, 2 FLOPs a MAC.
    folded = 4 * 96 * (54 * 54 * 11 * 11 - 53 * 53 * 4 * 4)
    # Pooling reads 53 × 53 of block 1's 54 × 54 positions, 25 × 25 of block 2's 26 × 26, 11 × 11 of block 3's 12 × 12.
    block1 = 6 * 96 * (54 * 54 - 53 * 53) * (96 + 96)
    block2 = 6 * 256 * (26 * 26 - 25 * 25) * (96 * 25 + 256 + 256)
    # 13 even and 12 odd rows of the 5 × 5 convolution, from 13 · 3 + 13 · 2 + 12 · 3 rows of products, not 125.
    fast = 6 * 256 * 25 * 96 * 5 * (125 - 101)
    block3 = 6 * 384 * (12 * 12 - 11 * 11) * (256 * 9 + 384 + 384)
    assert nominal - executed == folded + block1 + block2 + block3 + fast


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
