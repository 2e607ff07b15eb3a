"""An optimizer that is added in one place only: the type checker and the first use report each other place."""

import pytest

from support.changed_package import copy_package, last_traceback_line, needs_pyright, type_errors

NAMES = 'OptimizerName = Literal["sgd", "adam", "adamw", "muon"]'
RULE = '        case "adamw":\n            return ADAMW\n'
ONLY_NAMED = {NAMES: NAMES.replace('"muon"]', '"muon", "lion"]')}
WITH_A_RULE = ONLY_NAMED | {RULE: RULE.replace('"adamw"', '"adamw" | "lion"')}
RULES, PYTORCH = "mlpconv/optimizers.py", "mlpconv/backends/pytorch/optimizer.py"


@needs_pyright
@pytest.mark.parametrize(
    ("changes", "unhandled"), [({}, set()), (ONLY_NAMED, {RULES, PYTORCH}), (WITH_A_RULE, {PYTORCH})]
)
def test_the_type_checker_reports_each_place_without_the_case(tmp_path, changes, unhandled):
    root = copy_package(tmp_path, RULES, changes)
    assert type_errors(root, [RULES, PYTORCH], ['"Never"', "lion"]) == unhandled


def test_a_name_without_a_rule_fails_at_its_first_use(tmp_path):
    root = copy_package(tmp_path, RULES, ONLY_NAMED)
    message = last_traceback_line(root, "from mlpconv.optimizers import Optimizer; Optimizer('lion')")
    assert message.startswith("AssertionError")
    assert "'lion'" in message


def test_a_rule_that_pytorch_does_not_handle_fails_where_it_is_built(tmp_path):
    pytest.importorskip("torch")
    code = (
        "from mlpconv.optimizers import Optimizer; from mlpconv.backends.registry import get_backend;"
        "from mlpconv.arch.preprocess import Preprocess; from mlpconv.models import create_model;"
        "get_backend('torch').build(create_model('nin_28'), Preprocess(28), optimizer=Optimizer('lion'))"
    )
    message = last_traceback_line(copy_package(tmp_path, RULES, WITH_A_RULE), code)
    assert message.startswith("AssertionError")
    assert "'lion'" in message
