import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlpconv.arch.cost import count, prediction_memory, receptive_fields, training_memory
from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU, Sigmoid, pair
from mlpconv.arch.network import Network
from mlpconv.errors import NetworkError
from mlpconv.models import create_model
from support.strategies import networks
from support.torch_modules import backward_peak, prediction_peak, saved_bytes, torch_layers

MEASURED = ["nin", "lenet", "alexnet", "vgg11", "nin_cifar10", "nin_28"]
BATCH = 101  # a prime above every size of a random network: the first side of nothing else


def module(network, in_place="training"):
    return nn.Sequential(*torch_layers(network, in_place))


def torch_flops(network, training):
    model, images = module(network), torch.zeros(2, *network.input_shape)
    with FlopCounterMode(display=False) as counter:
        output = model.train(training)(images)
        if training and output.requires_grad:
            output.sum().backward()
    return counter.get_total_flops() // 2


@given(networks())
@settings(max_examples=60)
def test_parameters_and_flops_agree_with_pytorch(network):
    costs = count(network)
    assert costs.parameters == sum(p.numel() for p in module(network).parameters())
    assert costs.flops == torch_flops(network, training=False)
    # PyTorch counts the gradient of a depthwise kernel as if each output channel read all input channels.
    extra = sum(
        cost.flops * (layer.out_channels - 1)
        for (_, layer), cost in zip(network.walk(), costs.layers, strict=True)
        if isinstance(layer, Conv2d) and layer.depthwise
    )
    assert costs.training_flops + extra == torch_flops(network, training=True)


def test_a_depthwise_convolution_costs_a_share_of_one_of_all_channels():
    whole, depthwise = (
        count(Network(Conv2d(6, 5, depthwise=each), input_channels=6, input_size=(9, 8))).layers[0]
        for each in (False, True)
    )
    assert (depthwise.weights, depthwise.biases, depthwise.macs) == (6 * 25, 6, 6 * 5 * 4 * 25)
    assert (whole.weights, whole.macs) == (6 * depthwise.weights, 6 * depthwise.macs)
    assert depthwise.additions == 6 * 5 * 4 * 24


@given(networks())
def test_the_columns_sum_to_the_totals(network):
    costs = count(network)
    total = costs.total()
    counts = [name for name in total.__struct_fields__ if isinstance(getattr(total, name), int)]
    assert {"weights", "multiplications", "backward_macs"} < set(counts)
    for name in counts:
        assert getattr(total, name) == sum(getattr(layer, name) for layer in costs.layers)
    assert total.parameters == total.weights + total.biases == costs.parameters
    assert total.macs == costs.macs
    assert total.flops == costs.flops == 2 * costs.macs
    assert total.input_shape == network.input_shape
    for (_, layer), cost in zip(network.walk(), costs.layers, strict=True):
        if isinstance(layer, Conv2d | Linear):
            missing = 0 if layer.bias else torch.Size(cost.output_shape).numel()
            assert cost.flops == cost.multiplications + cost.additions + cost.bias_additions + missing
        else:
            assert cost.macs == cost.additions == cost.bias_additions == cost.backward_macs == 0


@given(networks(most_layers=7))
@settings(max_examples=60)
def test_memory_agrees_with_pytorch(network):
    images = torch.rand(BATCH, *network.input_shape)
    memory = training_memory(network, batch=BATCH)
    model = module(network)
    # Means and deviations are no values of images, and so not in the live count.
    statistics = 8 * sum(layer.num_features for layer in model if isinstance(layer, nn.BatchNorm2d))
    assert memory.activations == saved_bytes(model, images) == saved_bytes(module(network, "never"), images)
    if count(network).parameters:
        assert memory.activations - statistics + memory.working == backward_peak(model, images)
    assert prediction_memory(network, batch=BATCH).activations == prediction_peak(
        module(network, "prediction").eval(), images
    )


@pytest.mark.parametrize("name", MEASURED)
def test_memory_of_the_registered_networks_agrees_with_pytorch(name):
    network = create_model(name)
    with torch.device("meta"):  # shapes and storages without their contents
        images = torch.zeros(3, *network.input_shape)
        saved = saved_bytes(module(network), images)
        peak = backward_peak(module(network), images)
        predicted = prediction_peak(module(network, "prediction").eval(), images)
    memory = training_memory(network, batch=3)
    statistics = 8 * sum(cost.weights for cost in count(network).layers if cost.kind == "BatchNorm2d")
    assert memory.activations == saved
    assert memory.activations - statistics + memory.working == peak
    assert prediction_memory(network, batch=3).activations == predicted


def test_memory_is_shown_in_columns():
    network = create_model("nin_28")
    parameters = count(network).parameters
    channels = sum(cost.weights for cost in count(network).layers if cost.kind == "BatchNorm2d")
    training = training_memory(network, batch=10, optimizer="momentum")
    assert training.weights == 4 * (parameters + 2 * channels)
    assert training.gradients == training.optimizer == 4 * parameters
    assert training.batch == 10 * 28 * 28 * 4
    assert training.total == sum(training)
    assert [training_memory(network, optimizer=o).optimizer for o in ("sgd", "adam", "adamw")] == [
        0,
        8 * parameters,
        8 * parameters,
    ]
    prediction = prediction_memory(network, batch=10)
    assert prediction.weights == training.weights
    assert prediction.gradients == prediction.optimizer == prediction.working == 0
    assert 0 < prediction.activations < training.activations


def test_bfloat16_halves_what_depends_on_the_image_but_not_the_indices():
    network = create_model("lenet")
    single, half = training_memory(network, batch=4), training_memory(network, batch=4, value_bytes=2)
    assert half.weights == single.weights
    assert half.activations * 2 == single.activations  # average pooling keeps no indices
    pooled = Network(Conv2d(2, 1), MaxPool2d(2, stride=2), input_size=4)
    indices = 8 * 2 * 2 * 2
    single, half = (training_memory(pooled, value_bytes=size).activations for size in (4, 2))
    assert 2 * (half - indices) == single - indices


def test_an_unknown_optimizer_is_a_bug_of_the_caller():
    with pytest.raises(KeyError):
        training_memory(create_model("lenet"), optimizer="lion")


NIN_CONVOLUTIONS = [
    ("block1.conv", 11_616, 96, 33_872_256),
    ("block1.mlp1", 9_216, 96, 26_873_856),
    ("block1.mlp2", 9_216, 96, 26_873_856),
    ("block2.conv", 614_400, 256, 415_334_400),
    ("block2.mlp1", 65_536, 256, 44_302_336),
    ("block2.mlp2", 65_536, 256, 44_302_336),
    ("block3.conv", 884_736, 384, 127_401_984),
    ("block3.mlp1", 147_456, 384, 21_233_664),
    ("block3.mlp2", 147_456, 384, 21_233_664),
    ("block4.conv", 34_560, 10, 864_000),
    ("block4.mlp1", 100, 10, 2_500),
    ("block4.mlp2", 100, 10, 2_500),
]


def test_the_cost_table_of_nin():
    costs = count(create_model("nin"))
    rows = [(cost.name, cost.weights, cost.biases, cost.macs) for cost in costs.layers if cost.macs]
    assert rows == NIN_CONVOLUTIONS
    first = costs.layers[0]
    assert first.multiplications == 96 * 54 * 54 * 11 * 11 == 33_872_256
    assert first.additions == 96 * 54 * 54 * (11 * 11 - 1) == 33_592_320
    assert first.bias_additions == 96 * 54 * 54
    total = costs.total()
    assert (total.weights, total.biases, costs.parameters) == (1_989_928, 2_238, 1_992_166)
    assert (costs.macs, costs.flops, costs.training_flops) == (762_297_352, 1_524_594_704, 4_506_039_600)
    assert total.output_shape == (10,)
    assert total.activation_ops == total.bias_additions  # one ReLU after each convolution
    pools = {cost.name: cost.pooling_ops for cost in costs.layers if cost.pooling_ops}
    assert pools == {
        "pool1": 8 * 96 * 26 * 26,
        "pool2": 8 * 256 * 12 * 12,
        "pool3": 8 * 384 * 5 * 5,
        "gap": 10 * 5 * 5,
    }


@pytest.mark.parametrize("name", ["nin", "lenet", "alexnet", "vgg11", "nin_imagenet", "nin_cifar100", "nin_32"])
def test_flops_of_the_registered_networks_agree_with_pytorch(name):
    network = create_model(name)
    costs = count(network)
    with torch.device("meta"):
        assert costs.flops == torch_flops(network, training=False)
        assert costs.training_flops == torch_flops(network, training=True)


def test_after_a_layer_with_weights_the_first_convolution_computes_both_gradients():
    plain, normed = Network(Conv2d(4, 3), input_size=8), Network(BatchNorm2d(), Conv2d(4, 3), input_size=8)
    macs = 4 * 6 * 6 * 9
    assert count(plain).training_flops == 2 * 2 * macs
    assert count(normed).training_flops == 2 * 3 * macs


def test_costs_depend_on_the_image_size():
    network = create_model("nin")
    small, large = count(network, (1, 112, 112)), count(network)
    assert small.parameters == large.parameters
    assert small.macs < large.macs
    assert small.input_shape == (1, 112, 112)
    with pytest.raises(NetworkError, match=r"block1\.conv: a 11×11 kernel does not fit the 9×9 map"):
        count(network, (1, 9, 9))


def test_receptive_fields_of_nin():
    fields = {field.name: (field.size, field.stride) for field in receptive_fields(create_model("nin"))}
    expected = {
        "block1.conv": (11, 4),
        "block1.mlp2": (11, 4),
        "pool1": (19, 8),
        "block2.conv": (51, 8),
        "pool2": (67, 16),
        "block3.relu2": (99, 16),
        "pool3": (131, 32),
        "dropout1": (131, 32),
        "block4.mlp2": (195, 32),
    }
    assert {name: fields[name] for name in expected} == {
        name: ((size, size), (stride, stride)) for name, (size, stride) in expected.items()
    }
    assert fields["gap"][0] == fields["flatten"][0] == (224, 224)
    assert {cost.name: cost.receptive_field for cost in count(create_model("nin")).layers} == {
        name: size for name, (size, _) in fields.items()
    }


def test_a_flatten_or_a_linear_layer_sees_the_whole_image():
    network = Network(Conv2d(2, 3), Sigmoid(), Flatten(), Linear(3), ReLU(), input_size=(6, 9))
    assert [field.size for field in receptive_fields(network)] == [(3, 3), (3, 3), (6, 9), (6, 9), (6, 9)]
    pooled = Network(Conv2d(2, 3), GlobalAvgPool2d(), Conv2d(2, 1), input_size=(6, 9))
    assert [field.size for field in receptive_fields(pooled)] == [(3, 3), (6, 9), (6, 9)]


@given(
    st.lists(
        st.builds(
            Conv2d,
            st.just(1),
            st.tuples(st.integers(1, 5), st.integers(1, 5)),
            st.tuples(st.integers(1, 3), st.integers(1, 3)),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=50)
def test_the_receptive_field_is_the_region_with_a_gradient(layers):
    size, step = [1, 1], [1, 1]
    for layer in layers:
        for axis in (0, 1):
            size[axis] += (pair(layer.kernel_size)[axis] - 1) * step[axis]
            step[axis] *= pair(layer.stride)[axis]
    # Just large enough that the last map is 2×2.
    network = Network(*layers, input_size=(size[0] + step[0], size[1] + step[1]))
    field = receptive_fields(network)[-1]
    model = nn.Sequential(*torch_layers(network))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    image = torch.zeros(1, *network.input_shape, requires_grad=True)
    output = model(image)
    assert output.shape == (1, 1, 2, 2)
    reached = [torch.autograd.grad(output[0, 0, at, at], image, retain_graph=True)[0][0, 0].nonzero() for at in (0, 1)]
    assert tuple((reached[0].amax(0) + 1).tolist()) == field.size
    assert tuple((reached[1].amin(0)).tolist()) == field.stride
