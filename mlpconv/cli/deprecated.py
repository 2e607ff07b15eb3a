"""Renamed options: the old name keeps working for one version, is hidden in the help, and prints a notice."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from typer.core import TyperCommand

Function = TypeVar("Function", bound=Callable[..., Any])

_ATTRIBUTE = "__renamed_options__"


def renamed_options(names: Mapping[str, str]) -> Callable[[Function], Function]:
    """Keep old names of a command's options working.

    Args:
        names: From each old option to what replaces it. Where that is several options, separated by spaces, the last
            one takes the value: ``{"--pretrained": "--new-head --start-from"}``.

    Returns:
        A decorator for the command's function. Commands are registered with ``command_class(function)``.
    """

    def decorate(function: Function) -> Function:
        setattr(function, _ATTRIBUTE, dict(names))
        return function

    return decorate


def command_class(function: Callable[..., Any]) -> type[TyperCommand]:
    """The class to register ``function`` with, so that the options named by ``renamed_options`` keep working."""

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, replace_old_options(args, names, quiet=ctx.resilient_parsing))

    names: dict[str, str] = getattr(function, _ATTRIBUTE, {})
    return Command if names else TyperCommand


def replace_old_options(arguments: list[str], names: Mapping[str, str], *, quiet: bool = False) -> list[str]:
    """The arguments with old options replaced, ``--old=VALUE`` included; prints one notice per old option.

    Args:
        arguments: A command's arguments; what follows ``--`` stays unchanged.
        names: From old options to new ones, as in ``renamed_options``.
        quiet: Whether to print no notice, as for shell completion.
    """
    from mlpconv.cli.output import warn

    end = arguments.index("--") if "--" in arguments else len(arguments)
    replaced: list[str] = []
    noticed: set[str] = set()
    for argument in arguments[:end]:
        old, equals, value = argument.partition("=")
        if old not in names:
            replaced.append(argument)
            continue
        replaced += (names[old] + equals + value).split(" ", names[old].count(" "))
        if old not in noticed and not quiet:
            warn(f"{old} is now {names[old]}; the old name will be removed in the next version")
        noticed.add(old)
    return replaced + arguments[end:]
