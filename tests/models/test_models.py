import pytest

from mlpconv.arch.cost import count
from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import block_shapes, layer_shapes, num_classes
from mlpconv.errors import NetworkError
from mlpconv.models import create_model, list_models, nin_block, vgg_block

PARAMETERS = {
    "nin": 1_992_166,
    "nin_imagenet": 7_595_176,
    "nin_cifar10": 966_986,
    "nin_cifar100": 984_356,
    "nin_svhn": 966_986,
    "nin_28": 418_346,
    "nin_32": 423_146,
    "nin_fast": 337_946,
    "nin_tiny": 29_442,
    "nin_96": 1_467_690,
    "nin_photo": 1_727_290,
    "lenet": 61_706,
    "alexnet": 46_764_746,
    "vgg11": 128_806_154,
    "nin11": 7_132_106,
    "nin16": 7_745_354,
    "nin19": 8_337_738,
}


def test_every_registered_network_has_its_count_in_this_test():
    assert set(PARAMETERS) <= set(list_models())


@pytest.mark.parametrize("name", list_models())
def test_every_registered_network_is_a_complete_classifier(name):
    network = create_model(name)
    assert network.name == name
    assert count(network).parameters == PARAMETERS[name]
    assert Network.from_json(network.to_json()) == network
    for classes, channels in ((2, 1), (7, 3), (1000, 4)):
        other = create_model(name, num_classes=classes, input_channels=channels)
        assert num_classes(other) == classes
        assert other.input_shape == (channels, *network.input_size)
        assert layer_shapes(other)[-1].output_shape == (classes,)
        assert Network.from_json(other.to_json()) == other
        assert other.digest != network.digest


@pytest.mark.parametrize("name", list_models())
def test_another_class_changes_only_the_last_layers(name):
    ten, eleven = (count(create_model(name, num_classes=classes)) for classes in (10, 11))
    wider = [(a.name, b.parameters - a.parameters) for a, b in zip(ten.layers, eleven.layers, strict=True)]
    changed = [(layer, more) for layer, more in wider if more]
    # The chapter's last block is as wide as there are classes throughout.
    assert len(changed) == (3 if name == "nin" else 1)
    assert changed[-1][0] == [cost.name for cost in ten.layers if cost.parameters][-1]


def test_the_chapters_network_written_out():
    def block(channels, kernel, stride=1, padding=0):
        return Block(
            conv=Conv2d(channels, kernel, stride, padding),
            relu=ReLU(),
            mlp1=Conv2d(channels, 1),
            relu1=ReLU(),
            mlp2=Conv2d(channels, 1),
            relu2=ReLU(),
        )

    assert create_model("nin") == Network.named(
        {
            "block1": block(96, 11, stride=4),
            "pool1": MaxPool2d(3, stride=2),
            "block2": block(256, 5, padding=2),
            "pool2": MaxPool2d(3, stride=2),
            "block3": block(384, 3, padding=1),
            "pool3": MaxPool2d(3, stride=2),
            "dropout1": Dropout(0.5),
            "block4": block(10, 3, padding=1),
            "gap": GlobalAvgPool2d(),
            "flatten": Flatten(),
        },
        input_channels=1,
        input_size=224,
        name="nin",
    )


def test_the_network_of_the_model_zoo_rounds_pooling_up_like_caffe():
    sides = [shape[1] for _, _, shape in block_shapes(create_model("nin_imagenet"))[:6]]
    assert sides == [54, 27, 27, 13, 13, 6]
    assert [shape[0] for *_, shape in block_shapes(create_model("nin_imagenet"))] == [
        96,
        96,
        256,
        256,
        384,
        384,
        384,
        1000,
        1000,
        1000,
    ]


def test_the_papers_networks_have_the_published_maps():
    for name in ("nin_cifar10", "nin_cifar100", "nin_svhn"):
        network = create_model(name)
        assert [shape[1:] for _, kind, shape in block_shapes(network) if "Pool2d" in kind] == [(16, 16), (8, 8), (1, 1)]
        assert [type(layer) for layer in network.layers.values() if not isinstance(layer, Block)] == [
            MaxPool2d,
            Dropout,
            AvgPool2d,
            Dropout,
            GlobalAvgPool2d,
            Flatten,
        ]
    widths = [layer.out_channels for _, layer in create_model("nin_cifar100").walk() if isinstance(layer, Conv2d)]
    assert widths == [192, 160, 96, 192, 192, 192, 192, 192, 100]


def test_the_classics_have_the_chapters_tables():
    lenet = [shape for _, _, shape in block_shapes(create_model("lenet"))]
    assert [lenet[at] for at in (0, 2, 3, 5, 6, 7, 9, 11)] == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (400,),
        (120,),
        (84,),
        (10,),
    ]
    alexnet = {name: shape for name, kind, shape in block_shapes(create_model("alexnet")) if "Pool" in kind}
    assert alexnet == {"pool1": (96, 26, 26), "pool2": (256, 12, 12), "pool3": (256, 5, 5)}
    vgg = [shape for _, kind, shape in block_shapes(create_model("vgg11")) if kind == "Block"]
    assert vgg == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    for name in ("alexnet", "vgg11"):
        assert [layer.out_features for _, layer in create_model(name).walk() if isinstance(layer, Linear)] == [
            4096,
            4096,
            10,
        ]


def test_networks_for_small_images_do_not_enlarge_them():
    for name, side in (("nin_28", 28), ("nin_32", 32)):
        network = create_model(name)
        first, *_, last = [layer for _, layer in network.walk() if isinstance(layer, Conv2d)]
        assert network.input_size == (side, side)
        assert not first.bias  # batch normalisation has the shift
        assert last.bias
        assert sum(isinstance(layer, BatchNorm2d) for _, layer in network.walk()) == 9


def test_a_nin_block_has_named_layers():
    assert list(nin_block(96, 11, stride=4).layers) == ["conv", "relu", "mlp1", "relu1", "mlp2", "relu2"]
    assert nin_block(8, 3, mlp=0) == Block(conv=Conv2d(8, 3), relu=ReLU())
    assert nin_block((8, 6, 4), 3, 2, 1).layers["mlp2"] == Conv2d(4, 1)
    assert nin_block(8, (3, 5), norm=True, mlp=1) == Block(
        conv=Conv2d(8, (3, 5), bias=False),
        norm=BatchNorm2d(),
        relu=ReLU(),
        mlp1=Conv2d(8, 1, bias=False),
        norm1=BatchNorm2d(),
        relu1=ReLU(),
    )
    with pytest.raises(NetworkError, match=r"nin_block: 2 widths for 3 convolutions; give one or 3"):
        nin_block((8, 4), 3)


def test_a_vgg_block_halves_its_map():
    block = vgg_block(2, 16)
    assert list(block.layers) == ["conv1", "relu1", "conv2", "relu2", "pool"]
    assert layer_shapes(Network(block, input_size=8))[-1].output_shape == (16, 4, 4)
