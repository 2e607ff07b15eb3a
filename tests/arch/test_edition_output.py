"""The shapes as the editions of the chapter print them."""

import pytest

from mlpconv.arch.edition_output import EDITIONS, edition_lines
from mlpconv.models import create_model, list_models

NIN = create_model("nin")


def test_pytorch_prints_the_lines_of_its_own_loop(capsys):
    torch = pytest.importorskip("torch")
    from support import chapter_pytorch

    x = torch.rand(size=(1, 1, 224, 224))
    for layer in chapter_pytorch.nin(lazy=False):
        x = layer(x)
        print(layer.__class__.__name__, "output shape:\t", x.shape)
    assert capsys.readouterr().out.splitlines() == edition_lines(NIN, "pytorch")


def test_d2lzh_prints_the_lines_of_its_own_loop(capsys):
    torch = pytest.importorskip("torch")
    from support import chapter_pytorch

    x = torch.rand(1, 1, 224, 224)
    for name, block in chapter_pytorch.nin(lazy=False).named_children():
        x = block(x)
        print(name, "output shape: ", x.shape)
    assert capsys.readouterr().out.splitlines() == edition_lines(NIN, "d2lzh")


def test_the_network_that_build_returns_goes_through_the_loop_of_the_pytorch_editions(capsys):
    torch = pytest.importorskip("torch")
    x = torch.rand(size=(1, 1, 224, 224))
    for layer in NIN.build("torch"):
        x = layer(x)
        print(layer.__class__.__name__, "output shape:\t", x.shape)
    assert capsys.readouterr().out.splitlines() == edition_lines(NIN, "pytorch")


def test_gluon_numbers_its_layers_after_the_network():
    lines = edition_lines(NIN, "gluon")
    assert [line.split()[0] for line in lines] == [
        *("sequential1", "pool0", "sequential2", "pool1", "sequential3", "pool2", "dropout0"),
        *("sequential4", "pool3", "flatten0"),
    ]
    assert lines[0] == "sequential1 output shape:\t (1, 96, 54, 54)"
    assert edition_lines(NIN, "mxnet") == lines


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("model", list_models())
def test_every_network_can_be_printed(model, edition):
    assert edition_lines(create_model(model), edition)
