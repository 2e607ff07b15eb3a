"""Batches for a training loop of your own."""

import numpy as np
import pytest
from PIL import Image

from mlpconv import ImageDataset, Splits
from mlpconv.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), dtype=np.uint8)
DATA = ImageDataset(IMAGES, np.arange(10) % 3, ("a", "b", "c"), "random/train")


def test_all_images_come_once_and_the_last_batch_is_smaller():
    batches = DATA.batches(4)
    pairs = list(batches)
    assert len(batches) == len(pairs) == 3
    assert [x.shape for x, _ in pairs] == [(4, 3, 6, 8), (4, 3, 6, 8), (2, 3, 6, 8)]
    np.testing.assert_array_equal(np.concatenate([y for _, y in pairs]), DATA.labels)
    x = np.concatenate([x for x, _ in pairs])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(np.rint(x * 255).astype(np.uint8), IMAGES.transpose(0, 3, 1, 2))


def test_images_are_resized_to_pillows_gray_levels():
    (x, _), *_ = DATA.batches(10, resize=(15, 20), layout="NHWC")
    expected = [
        np.asarray(Image.fromarray(image).resize((20, 15), Image.Resampling.BILINEAR), np.float32) / 255
        for image in IMAGES
    ]
    np.testing.assert_array_equal(x, np.stack(expected))


def test_the_order_changes_with_each_iteration_and_follows_from_the_seed():
    def orders(seed):
        batches = DATA.batches(10, shuffle=True, seed=seed)
        return [next(iter(batches))[0].tobytes() for _ in range(2)]

    first, second = orders(0)
    assert first != second
    assert orders(0) == [first, second]
    assert orders(1) != [first, second]


def test_a_split_gives_shuffled_training_and_ordered_test_batches():
    train, test = Splits(DATA, DATA).batches(10, resize=7, convert=lambda values: values.tolist())
    (x, y), *_ = test
    assert y == DATA.labels.tolist()
    assert len(x[0][0]) == len(x[0][0][0]) == 7
    assert train.shuffle
    assert not test.shuffle


def test_batches_of_torch_tensors_train_a_network():
    torch = pytest.importorskip("torch")
    from mlpconv import create_model

    module = create_model("nin_28", 3, 3).build("torch", initializer="he", seed=1)
    (x, y), *_ = DATA.batches(10, resize=28, convert=torch.from_numpy)
    loss = torch.nn.functional.cross_entropy(module(x), y)
    loss.backward()
    assert torch.isfinite(loss)


def test_build_draws_the_weights_from_which_training_starts():
    pytest.importorskip("torch")
    from mlpconv import create_model
    from mlpconv.backends.weights import INITIALIZERS, initialize

    network = create_model("nin")
    module = network.build("torch", initializer="xavier", seed=3)
    expected = initialize(network, INITIALIZERS["xavier"], 3)
    found = dict(module.named_parameters())
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name].detach().numpy(), value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size and resize must be at least 1, not 0 and None"),
        ({"batch_size": 2, "resize": 0}, "not 2 and 0"),
        ({"batch_size": 2, "layout": "HWCN"}, "layout must be NCHW or NHWC, not 'HWCN'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        DATA.batches(**options)


def test_the_gray_levels_differ_from_exact_interpolation_by_at_most_one():
    from mlpconv.arch.preprocess import Preprocess
    from mlpconv.backends.reference import preprocess

    (x, _), *_ = DATA.batches(10, resize=30)
    exact = preprocess(IMAGES, Preprocess(size=30, mode="RGB", mean=(0.0,) * 3, std=(1.0,) * 3, fit="squash"))
    assert 0.5 < np.abs(x - exact).max() * 255 < 1.01
