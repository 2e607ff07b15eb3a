"""Generates the reference from the code, so that it cannot go out of date.

A page contains ``<!-- generated: NAME -->``, which is replaced by Markdown generated from the typer app, the
registries, the errors and the schemas.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from mlpconv import errors
from mlpconv.arch.cost import count
from mlpconv.arch.layers import AnyLayer, Layer, fields
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes, show
from mlpconv.cli import app as typer_app
from mlpconv.data import dataset_source, list_datasets
from mlpconv.models import create_model, list_models, model_entry
from mlpconv.training.recipe import describe, to_toml
from mlpconv.training.recipes import RECIPES

SCHEMAS = Path(__file__).parents[1] / "json"
MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(titles), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text with all Markdown markup escaped, except `code`."""
    parts = text.split("`")
    parts[::2] = (re.sub(r"([<\[\]*_\\])", r"\\\1", part) for part in parts[::2])
    return "`".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """All commands with their full names; groups only if they are commands themselves."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if not inner or (name != "mlpconv" and command.invoke_without_command):
            yield name, command
        for key, value in inner.items():
            yield from walk(f"{name} {key}", value)

    return walk("mlpconv", typer.main.get_command(typer_app))


def command_line() -> str:
    """A section per command: description, usage, arguments and options, an example."""
    return "\n\n".join(_command(name, command) for name, command in commands())


def _command(name: str, command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help).partition("Example: ")
    context = command.context_class(command, info_name=name)
    usage = re.sub(r"[{}]", "", " ".join([name, *command.collect_usage_pieces(context)])).replace("…...", "…")
    rows = []
    for parameter in command.params:
        names, description = parameter.get_help_record(context)
        assert parameter.help, f"{name}: {parameter.name} has no help"
        shown = parameter.metavar or names.partition(" ")[0] if parameter.param_type_name == "argument" else names
        rows.append((f"`{shown}`", _plain(description)))
    parts = [f"## {name}", text.strip(), f"```text\n{usage}\n```", table(["argument or option", "description"], rows)]
    if example:
        parts.append(f"For example:\n\n```sh\n{example.strip()}\n```")
    return "\n\n".join(parts)


def networks() -> str:
    """The registered networks, then the layers of each."""
    rows = []
    for name in list_models():
        costs = count(create_model(name))
        rows.append(
            (f"`{name}`", show(costs.input_shape), f"{costs.parameters:,}", f"{costs.macs:,}", model_entry(name).source)
        )
    titles = ["name", "input", "parameters", "MACs per image", "source"]
    each = [
        f"## {name}\n\n{_first_line(model_entry(name).build)}\n\n{_layers(create_model(name))}"
        for name in list_models()
    ]
    return "\n\n".join([table(titles, rows), *each])


def _layers(network: Network) -> str:
    rows = [
        (f"`{row.name}`", f"`{type(row.layer).__name__}`", _settings(row.layer), show(row.output_shape))
        for row in layer_shapes(network)
    ]
    return table(["layer", "type", "fields that differ from the defaults", "output"], rows)


def _settings(layer: Layer) -> str:
    return _plain(", ".join(f"{key} {value}" for key, value in fields(layer).items()))


def _first_line(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__).partition("\n\n")[0]


def recipes() -> str:
    """The named recipes: a summary, then the equivalent TOML file of each."""
    titles = ["name", "settings", "source", "expected result"]
    rows = [
        (f"`{name}`", describe(named.recipe, name).partition(": ")[2], named.source, named.expect)
        for name, named in RECIPES.items()
    ]
    each = [f"## {name}\n\n```toml\n{to_toml(named.recipe)}```" for name, named in RECIPES.items()]
    return "\n\n".join([table(titles, rows), *each])


def datasets() -> str:
    """The known data sets."""
    rows = []
    for name in list_datasets():
        source = dataset_source(name)
        height, width, channels = source.image_shape
        train, test = source.counts
        rows.append(
            (f"`{name}`", source.title, f"{train:,}", f"{test:,}", show((channels, height, width)), source.licence)
        )
    return table(["name", "title", "training", "test", "image", "licence"], rows)


def exit_codes() -> str:
    """The errors that a user can cause, with the exit code of the command."""
    kinds = [value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__]
    return table(
        ["error", "exit code", "meaning"],
        ((f"`{kind.__name__}`", str(kind.exit_code), _first_line(kind)) for kind in kinds),
    )


def json_output() -> str:
    """A section per schema: its fields with their types and meanings."""
    return "\n\n".join(_schema(path) for path in sorted(SCHEMAS.glob("*.schema.json")))


def _schema(path: Path) -> str:
    schema = json.loads(path.read_text(encoding="utf-8"))
    name = path.name.removesuffix(".schema.json")
    outermost = "The output is an array. Each element:" if schema["type"] == "array" else "The output is an object:"
    rows = [(f"`{key}`", kind, text) for key, kind, text in _fields(schema, "", schema)]
    file = f"Schema: {{download}}`{path.name} <../json/{path.name}>`."
    return f"## {name}\n\n{schema['title']}. {outermost}\n\n{table(['field', 'type', 'meaning'], rows)}\n\n{file}"


def _fields(schema: dict[str, Any], prefix: str, root: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    schema = _resolved(schema, root)
    if "items" in schema:
        yield from _fields(schema["items"], prefix and f"{prefix}[]", root)
    for key, value in schema.get("properties", {}).items():
        name = f"{prefix}.{key}" if prefix else key
        found = _resolved(value, root)
        optional = "" if key in schema.get("required", ()) else "; may be absent"
        yield name, _type(found, root) + optional, _plain(value.get("description") or found.get("description", ""))
        yield from _fields(value, name, root)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        target: Any = root
        for key in schema["$ref"].removeprefix("#/").split("/") if schema["$ref"] != "#" else ():
            target = target[key]
        # A schema that contains itself is not expanded.
        schema = target if target is not root else {"type": "object", "description": "the same object, nested"}
    return schema


def _type(schema: dict[str, Any], root: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(_resolved(each, root), root) for each in schema[key])
    kinds = schema.get("type", "any")
    named = " or ".join(kinds) if isinstance(kinds, list) else kinds
    return named + (f" of {_type(_resolved(schema['items'], root), root)}" if "items" in schema else "")


def layers() -> str:
    """Every layer, from its docstring."""
    directives = "".join(f".. autoclass:: {layer.__module__}.{layer.__name__}\n" for layer in get_args(AnyLayer))
    return f"```{{eval-rst}}\n{directives}```"


GENERATED: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "networks": networks,
    "recipes": recipes,
    "datasets": datasets,
    "exit-codes": exit_codes,
    "json": json_output,
    "layers": layers,
}


def _replace(app: Any, name: str, content: list[str]) -> None:
    content[0] = MARK.sub(lambda found: GENERATED[found[1]](), content[0])


def _keep_colon(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keep a colon in the first line of the docstring of a field or property.

    napoleon takes the text before it for the type; here, annotations state the types. In reStructuredText, a backslash
    at the end of a line joins the line with the next one: the line inserted here has no text, but it is not empty.
    """
    if what in ("attribute", "property"):
        lines.insert(0, "\\")


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _replace)
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # before napoleon, which has 500
    return {"parallel_read_safe": True}
