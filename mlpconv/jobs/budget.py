"""How long a run takes: as many epochs as its recipe asks for, but no more than fit a budget of time."""

import msgspec

from mlpconv.formatting import format_duration, format_number
from mlpconv.jobs.prepared import REPORT_SECONDS, PreparedJob
from mlpconv.training.automatic import MANY_EPOCHS
from mlpconv.training.plan import epochs_of
from mlpconv.training.recipe import Recipe


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with another number of epochs, its patience and image sizes in proportion."""
    patience = -(-recipe.patience * epochs // recipe.epochs)
    sizes = tuple((start * (epochs / recipe.epochs), size) for start, size in recipe.image_sizes)
    return msgspec.structs.replace(recipe, epochs=epochs, patience=patience, image_sizes=sizes, min_steps=0)


def many_epochs(recipe: Recipe, images: int) -> str:
    """A clause if ``min_steps`` makes many epochs of few images; else empty."""
    epochs = epochs_of(recipe, images)
    if recipe.freeze or epochs <= max(MANY_EPOCHS, recipe.epochs):
        return ""
    return f"{epochs:,} epochs, so that so few images make {recipe.min_steps:,} steps"


def within(prepared: PreparedJob, seconds: float) -> PreparedJob:
    """The job, with fewer epochs if it would take longer than a budget of ``seconds``; at least one.

    Its ``expected`` is the forecast. A job that does not fit the memory stays as it is: the run will refuse it.
    """
    if not prepared.fit().fits:
        return prepared
    forecast, recipe = prepared.forecast(), prepared.recipe
    if forecast.seconds <= seconds or recipe.epochs == 1:
        return prepared
    fixed = prepared.seconds + REPORT_SECONDS
    training = forecast.seconds - fixed
    epochs = max(int(recipe.epochs * (seconds - fixed) / training), 1)
    limit = f"to end within {format_duration(seconds)} (--budget)"
    if epochs == 1:
        limit = f"which may take longer than {format_duration(seconds)} (--budget)"
    said = f"{format_number(epochs, 'epoch', 'epochs')} instead of {recipe.epochs:,}, {limit}"
    data = prepared.run_data
    data = data._replace(chosen=f"{data.chosen}; {said}" if data.chosen else said)
    job = msgspec.structs.replace(prepared.job, recipe=with_epochs(recipe, epochs))
    shorter = PreparedJob(job, data, prepared.start, prepared.seconds)
    shorter.expected = forecast._replace(seconds=fixed + training * epochs / recipe.epochs)
    return shorter
