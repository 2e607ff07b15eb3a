"""A layer that is added in one place only: the type checker and the first use report each other place."""

from pathlib import Path

import pytest

from mlpconv.backends.registry import BACKENDS
from support.changed_package import copy_package, last_traceback_line, needs_pyright, type_errors

LAYERS = "mlpconv/arch/layers.py"
ROOT = Path(__file__).parents[2]
BACK_ENDS = {
    "mlpconv/backends/reference/layers.py",
    *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("mlpconv/backends/*/network.py")),
}
IN_UNION = {"AnyLayer = ": "_Known = ", "_LAYER_TYPES: ": "AnyLayer = _Known | Swish\n_LAYER_TYPES: "}
LAST = "class Linear(Layer"
UNDEFINED = 'class Swish(Layer, tag="swish", frozen=True):\n    """x · sigmoid(x)."""\n'
TRAITS = '    traits = _activation("swish", output="new", saves="input", can_die=False, pools_first=False)\n'
DEFINED = UNDEFINED.replace("Layer", "_Activation") + f'\n{TRAITS}    label = "swish"\n'


def changes(layer: str) -> dict[str, str]:
    return IN_UNION | {LAST: f"{layer}\n\n{LAST}"}


@needs_pyright
def test_the_type_checker_reports_a_layer_that_defines_nothing(tmp_path):
    root = copy_package(tmp_path, LAYERS, changes(UNDEFINED))
    assert type_errors(root, [LAYERS], ["Swish", "LayerDefinition"]) == {LAYERS}


@needs_pyright
def test_the_type_checker_reports_each_back_end_that_does_not_handle_a_layer_and_nothing_else(tmp_path):
    root = copy_package(tmp_path, LAYERS, changes(DEFINED))
    paths = ["mlpconv/arch", "mlpconv/drawing", "mlpconv/backends/common", *sorted(BACK_ENDS)]
    assert type_errors(root, paths, ["Swish"]) == BACK_ENDS


@pytest.mark.parametrize("use", ["mlpconv.Network(Swish())", "mlpconv.count(mlpconv.Network.named({'a': Swish()}))"])
def test_a_layer_that_defines_nothing_fails_where_it_is_used(tmp_path, use):
    code = f"import mlpconv; from mlpconv.arch.layers import Swish; {use}"
    message = last_traceback_line(copy_package(tmp_path, LAYERS, changes(UNDEFINED)), code)
    assert message.startswith("AttributeError: 'Swish' object has no attribute")


USES = {
    "reference": "from mlpconv.backends import reference; import numpy; reference.forward(net, {}, numpy.ones(shape))",
    **{name: f"net.build({name!r})" for name in BACKENDS},
}


@pytest.mark.parametrize("backend", USES)
def test_a_layer_that_a_back_end_does_not_handle_fails_where_it_is_built(tmp_path, backend):
    code = (
        "import mlpconv; from mlpconv.arch.layers import Swish;"
        f"shape = (1, 1, 8, 8); net = mlpconv.Network(Swish(), input_size=8); {USES[backend]}"
    )
    message = last_traceback_line(copy_package(tmp_path, LAYERS, changes(DEFINED)), code)
    if "MissingDependency" in message:
        pytest.skip(message)
    assert message.startswith("AssertionError")
    assert "Swish()" in message
