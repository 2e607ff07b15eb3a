"""The fold of one axis is the enlarging and the convolution after it: as matrices, exactly."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from mlpconv.arch.layers import Conv2d, Flatten, Linear
from mlpconv.arch.network import Block, Network
from mlpconv.backends import reference
from mlpconv.backends.common.resize_folding import can_fold, fold_axis
from mlpconv.models import create_model


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 11), st.integers(1, 6), st.booleans())
def test_an_axis_is_enlarged_and_convolved_at_once(source, factor, kernel, stride, whole):
    target = source * factor
    assume(kernel <= target)
    draw = np.random.default_rng([source, factor, kernel, stride])
    signal, weight = draw.normal(size=source), draw.normal(size=kernel)
    large = reference.resize_matrix(source, target, antialias=False) @ signal
    expected = np.correlate(large, weight)[::stride]
    outputs = None if whole else int(draw.integers(1, len(expected) + 1))

    axis = fold_axis(source, target, kernel, stride, outputs)
    windows = np.lib.stride_tricks.sliding_window_view(axis.knots @ signal, len(axis.matrix))[:: axis.stride]
    assert axis.outputs == len(windows) == (outputs or len(expected))
    np.testing.assert_allclose(windows @ (axis.matrix @ weight), expected[:outputs], rtol=1e-12, atol=1e-12)


def test_the_layer_groups_of_the_chapters_network():
    axis = fold_axis(28, 224, 11, 4)
    assert axis.stride == 1
    assert axis.matrix.shape == (4, 11)  # eleven enlarged pixels lie among four knots
    assert axis.knots.shape == (57, 28)  # the image enlarged by two, its edge replicated
    assert set(axis.knots.ravel()) == {0, 0.5, 1}


def test_folding_is_used_where_it_saves_work_and_is_exact():
    nin = create_model("nin")
    assert can_fold(nin, (28, 28), 224)
    assert can_fold(nin, (28, 56), 224)  # each axis by its own factor
    assert not can_fold(nin, (28, 28), 96)  # no whole factor
    assert not can_fold(nin, (32, 28), 224 // 2)
    assert not can_fold(nin, (28, 28), 84)  # 3 and the stride 4 share nothing: as many knots as enlarged pixels
    assert not can_fold(nin, (224, 224), 224)  # nothing to enlarge
    assert not can_fold(nin, (448, 448), 224)
    assert not can_fold(Network(Conv2d(4, 3, padding=1)), (8, 8), 64)  # its padding surrounds the enlarged image
    assert not can_fold(Network(Conv2d(3, 11, stride=4, depthwise=True), input_channels=3), (28, 28), 224)
    assert not can_fold(Network(Conv2d(4, 1)), (8, 8), 64)  # as it reads every pixel once, folding saves nothing
    assert not can_fold(Network(Flatten(), Linear(3)), (8, 8), 64)
    assert can_fold(Network(Block(first=Conv2d(4, 8, stride=4))), (8, 8), 64)
