"""PyTorch's private names that mlpconv uses are there in the installed version."""

import tomllib
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mlpconv.backends.pytorch import private_api  # noqa: E402

ROOT = Path(__file__).parents[3]


def test_the_installed_pytorch_has_every_private_name():
    missing = private_api.missing()
    assert not missing, (
        f"PyTorch {torch.__version__} lacks {', '.join(missing)}, which mlpconv calls. Replace the call in "
        f"mlpconv/backends/pytorch/private_api.py, or narrow the range torch{private_api.SUPPORTED} there and in "
        "pyproject.toml."
    )


def test_the_supported_versions_are_those_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extras["torch"] == [f"torch{private_api.SUPPORTED}"]


def test_a_missing_name_is_reported():
    class Without:
        """PyTorch without anything."""

    assert "torch.ops.mkldnn._convolution_pointwise" in private_api.missing(Without())


def test_no_other_module_uses_private_names():
    private = ("torch._C", "torch._subclasses", "torch.ops.", "torch.utils._", "._cdata", ".found_inf", "._op_dk")
    modules = {path: path.read_text(encoding="utf-8") for path in (ROOT / "mlpconv").rglob("*.py")}
    users = {path.name for path, text in modules.items() if any(name in text for name in private)}
    assert users == {"private_api.py"}


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [
        ((2, 2), (3, 4), (1, 2), 1),
        ((4, 4), (3, 3), (1, 3), 0),
        ((2, 1), (3, 5), (1, 2), 2),
        ((4, 6), (3, 5), (1, 2), 0),
    ],
)
def test_one_channel_and_an_output_one_column_wide(channels, side, kernel, stride, padding):
    """oneDNN alone reads outside of the map on AVX-512, with results of any size."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, *side, 1, generator=draw).permute(0, 3, 1, 2)
    weight, bias = torch.randn(channels, 1, *kernel, generator=draw), torch.randn(channels, generator=draw)
    found = private_api.convolution(x, weight, bias, (padding, padding), stride, activation="relu")
    exact = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), stride, padding).relu()
    assert found.shape[3] == 1
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)
