"""The structure of the code, as CONTRIBUTING.md describes it."""

import ast
from pathlib import Path

import mlpconv

PACKAGE = Path(mlpconv.__file__).parent
MAX_PARAMETERS = 8


def parameters(function):
    """The names of a function's parameters, without self and cls; *args and **kwargs count as one each."""
    arguments = function.args
    extra = [each for each in (arguments.vararg, arguments.kwarg) if each]
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def too_long(source):
    """The functions in a module's source with too many parameters."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return [
        f"line {node.lineno}: {getattr(node, 'name', 'lambda')} takes {len(parameters(node))} parameters"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, functions) and len(parameters(node)) > MAX_PARAMETERS
    ]


def test_no_function_outside_cli_takes_more_than_eight_parameters():
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "cli"]
    assert PACKAGE / "api.py" in modules
    found = {str(path.relative_to(PACKAGE)): too_long(path.read_text(encoding="utf-8")) for path in modules}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_all_kinds_of_parameters_are_counted_but_self():
    accepted = "class A:\n def f(self, a, b, /, c, *d, e, f, g, **h): ..."
    assert too_long(accepted) == []
    assert too_long(accepted.replace("(self", "(x")) == ["line 2: f takes 9 parameters"]
    assert too_long("f = lambda a, b, c, d, e, f, g, h, i: 0") == ["line 1: lambda takes 9 parameters"]
