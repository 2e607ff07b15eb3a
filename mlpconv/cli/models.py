"""``mlpconv models``: the registered networks."""

from mlpconv.cli.output import Column, Json, next_steps, print_json, table


def models(json: Json = False) -> None:
    """List the registered networks with their parameters and multiply-accumulates.

    Example: mlpconv models
    """
    from mlpconv.arch.cost import count
    from mlpconv.arch.shapes import show
    from mlpconv.models import create_model, list_models, model_entry

    entries = [(count(create_model(name)), model_entry(name)) for name in list_models()]
    if json:
        print_json(
            [
                {
                    "name": entry.name,
                    "parameters": costs.parameters,
                    "macs": costs.macs,
                    "input_shape": costs.input_shape,
                    "source": entry.source,
                }
                for costs, entry in entries
            ]
        )
        return
    columns = [
        Column("name"),
        Column("parameters", True),
        Column("MACs", True),
        Column("input", True),
        Column("source"),
    ]
    rows = [
        [entry.name, f"{costs.parameters:,}", f"{costs.macs:,}", show(costs.input_shape), entry.source]
        for costs, entry in entries
    ]
    table(columns, rows, flowing=True)
    next_steps(
        ("mlpconv summary nin", "shapes and costs of each block"),
        ("mlpconv train --model nin", "train a network"),
    )
