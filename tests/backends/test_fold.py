"""The fold of one axis is the enlarging and the convolution after it: as matrices, exactly."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from mlpconv.arch.layers import Conv2d, Flatten, Linear
from mlpconv.arch.network import Block, Network
from mlpconv.backends import numpy as reference
from mlpconv.backends.fold import can_fold, fold_axis
from mlpconv.models import create_model


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 11), st.integers(1, 6))
def test_an_axis_is_enlarged_and_convolved_at_once(source, factor, kernel, stride):
    target = source * factor
    assume(kernel <= target)
    draw = np.random.default_rng([source, factor, kernel, stride])
    signal, weight = draw.normal(size=source), draw.normal(size=kernel)
    large = reference.resize_matrix(source, target, antialias=False) @ signal
    expected = np.correlate(large, weight)[::stride]

    axis = fold_axis(source, target, kernel, stride)
    small = np.pad(signal, (axis.before, axis.after), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(small, axis.matrix.shape[1])[:: axis.stride]
    found = windows @ (axis.matrix @ weight).T  # (windows, phases)
    assert axis.outputs == len(expected)
    assert len(windows) >= -(-axis.outputs // axis.phases)
    np.testing.assert_allclose(found.reshape(-1)[: axis.outputs], expected, rtol=1e-12, atol=1e-12)


def test_the_phases_of_the_chapters_network():
    axis = fold_axis(28, 224, 11, 4)
    assert (axis.phases, axis.stride, axis.outputs) == (2, 1, 54)
    assert axis.matrix.shape[1] <= 4  # eleven enlarged pixels come from three or four


def test_where_a_fold_pays_and_is_exact():
    nin = create_model("nin")
    assert can_fold(nin, (28, 28), 224)
    assert can_fold(nin, (28, 56), 224)  # each axis by its own factor
    assert not can_fold(nin, (28, 28), 96)  # no whole factor
    assert not can_fold(nin, (32, 28), 224 // 2)
    assert not can_fold(nin, (224, 224), 224)  # nothing to enlarge
    assert not can_fold(nin, (448, 448), 224)
    assert not can_fold(Network(Conv2d(4, 3, padding=1)), (8, 8), 64)  # zeros of its own around the enlarged image
    assert not can_fold(Network(Conv2d(4, 1)), (8, 8), 64)  # as it reads every pixel once, folding saves nothing
    assert not can_fold(Network(Flatten(), Linear(3)), (8, 8), 64)
    assert can_fold(Network(Block(first=Conv2d(4, 8))), (8, 8), 64)
