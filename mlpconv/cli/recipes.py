"""``mlpconv recipes``: the named recipes."""

from mlpconv.cli.output import Json, next_steps, paragraph, print_json, say


def recipes(json: Json = False) -> None:
    """List the named recipes: what they do, their source and the expected result.

    Example: mlpconv recipes
    """
    import msgspec

    from mlpconv.training.recipe import describe
    from mlpconv.training.recipes import RECIPES

    if json:
        print_json(
            [
                {
                    "name": name,
                    "description": describe(named.recipe, name),
                    "source": named.source,
                    "expect": named.expect,
                    "recipe": msgspec.to_builtins(named.recipe),
                }
                for name, named in RECIPES.items()
            ]
        )
        return
    for name, named in RECIPES.items():
        _, _, description = describe(named.recipe, name).partition(": ")
        say(name)
        for title, text in (("does", description), ("source", named.source), ("expect", named.expect)):
            paragraph(text, first=f"  {title:8}", indent=10)
    next_steps(
        ("mlpconv train --recipe d2l", "train with a recipe"),
        ("mlpconv train --recipe d2l --dry-run", "print the whole recipe, to edit as a TOML file"),
    )
