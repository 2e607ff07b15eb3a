"""Options of the command line that set fields of the recipe."""


def test_each_recipe_option_sets_a_field_of_the_recipe():
    import msgspec
    from typer.main import get_command

    from mlpconv.cli import app
    from mlpconv.cli.recipe_options import OPTIONS
    from mlpconv.training.recipe import Recipe

    parameters = get_command(app).commands["train"].params
    recipe, flags = Recipe(), {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    for option in OPTIONS:
        value = recipe
        for name in option.field.split("."):
            assert name in value.__struct_fields__
            value = getattr(value, name)
        plain = option.type if isinstance(value, msgspec.Struct) or value is None else type(value)
        assert plain is option.type or plain is type(None)
        flag = option.flag or "--" + option.field.rpartition(".")[2].replace("_", "-")
        assert set(flag.split("/")) <= flags


def test_an_option_sets_a_field_of_a_table(cli, monkeypatch):
    import typer

    from mlpconv.cli import recipe_options

    momentum = recipe_options.RecipeOption("optimizer.momentum", float, "Momentum.")
    monkeypatch.setattr(recipe_options, "OPTIONS", (*recipe_options.OPTIONS, momentum))
    received = []
    app = typer.Typer()

    @app.command()
    @recipe_options.with_recipe_options
    def command(*, changes: dict, seeds: int = 1):
        received.append((changes, seeds))

    app(["--momentum", "0.9", "--lr", "0.1", "--seeds", "2"], standalone_mode=False)
    assert received == [({"learning_rate": 0.1, "optimizer": {"momentum": 0.9}}, 2)]
