"""From a request, or from a stored job, to a job that can start. Every mistake is found here, before any work."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlpconv.arch.head import find_head
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import output_shape
from mlpconv.backends.base import Precision
from mlpconv.backends.registry import available_backend, get_backend
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.data import Splits, hold_out
from mlpconv.data.folders.folder import FolderOptions
from mlpconv.data.image import background, fitting_preprocess
from mlpconv.errors import NetworkError, PrecisionError, RecipeError, RunError
from mlpconv.jobs.budget import many_epochs, with_epochs, within
from mlpconv.jobs.earlier_splits import earlier_splits, unknown_split
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.request import Request
from mlpconv.jobs.resume import data_differences
from mlpconv.jobs.run_data import FOLDER, Progress, RunData, default_recipe, load_run_data
from mlpconv.jobs.start_weights import compare, normalization, read_start, resolve_pretrained
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.runs.job import DataInfo, Job
from mlpconv.runs.run import Run
from mlpconv.training.automatic import AUTO, BUDGET, FEW, NO_WISHES, Wishes
from mlpconv.training.plan import epochs_of
from mlpconv.training.recipe import Recipe, change
from mlpconv.training.recipes import PHOTOS, get_recipe

HELD_OUT = 0.1
"""The share of validation images where a request needs some and its recipe holds out none."""


class Chosen(NamedTuple):
    """The recipe of a request, with everything in it that does not depend on the images."""

    recipe: Recipe
    name: str
    resumed: Run | None = None
    """The run that the request continues."""
    repeated: Run | None = None
    """The run that the request repeats."""


def prepare(request: Request, data: Splits | None = None, progress: Progress | None = None) -> PreparedJob:
    """Resolve a request: choose what it leaves open, load its images, and check that it can be executed.

    Args:
        request: What to do.
        data: The images; by default those that the recipe names.
        progress: Called with the name, the bytes or images done, and their total, while images are fetched or read.

    Raises:
        MlpconvError: The request cannot be executed. Nothing was written.
    """
    started = time.perf_counter()
    chosen = choose_recipe(request)
    backend, device, precision, deterministic = _choose_device(request, chosen)
    start = request.start_from or (chosen.resumed.config.start if chosen.resumed else None)
    recipe = chosen.recipe
    if start is not None and recipe.pretrained:
        raise RecipeError(
            f"--start-from {start} and --pretrained {recipe.pretrained}: both choose the start weights; give one"
        )
    resume_from = Path(request.resume_from) if request.resume_from is not None else None
    recipe, pretrained = resolve_pretrained(recipe, resume_from)
    options = FolderOptions(request.strict, request.follow_links)
    # A run that is resumed has recorded its own split.
    earlier = [] if data or chosen.resumed else earlier_splits(recipe, start, chosen.repeated)
    wishes = _wishes(request, chosen)
    loaded = load_run_data(recipe, data, request.data_directory, options, progress, chosen.resumed, earlier, wishes)
    if loaded.recipe.pretrained != recipe.pretrained:
        pretrained, _ = read_start(loaded.recipe.pretrained)
        chosen = chosen._replace(name=PHOTOS)
    images = len(loaded.splits.train)
    if many := many_epochs(loaded.recipe, images):
        loaded = loaded._replace(chosen=f"{loaded.chosen}; {many}" if loaded.chosen else many)
    recipe = _resolve_epochs(loaded.recipe, images)
    run_data = hold_out_validation(loaded)
    network = _make_network(recipe, run_data.splits)
    if pretrained is not None:  # weights that do not fit are found before anything is written
        recipe = _check_head(recipe, pretrained, network)
    job = Job(
        recipe_name=chosen.name,
        recipe=recipe,
        network=network.to_dict(),
        preprocess=_make_preprocess(recipe, network, run_data, pretrained),
        data=_data_info(loaded, run_data),
        backend=backend,
        device=device,
        precision=precision,
        deterministic=deterministic,
        start=start,
    )
    classifier = pretrained if start is None else _read_start(start, resume_from, network)
    if loaded.loaded_folder and not chosen.resumed:
        loaded.loaded_folder.folder.notes += unknown_split(recipe, classifier, earlier)
    prepared = PreparedJob(job, run_data, classifier)
    prepared.seconds = time.perf_counter() - started
    seconds = request.budget
    if seconds is None and wishes.batch is not None and images < FEW and "epochs" not in _given(request):
        seconds = BUDGET
    return prepared if seconds is None else within(prepared, seconds)


def load_job(
    job: Job,
    data: Splits | None = None,
    *,
    data_directory: str | Path | None = None,
    run: Path | None = None,
    progress: Progress | None = None,
) -> PreparedJob:
    """Load the images and start weights of a job that was resolved before, perhaps in another process.

    Args:
        job: The job.
        data: Its images; by default they are loaded by their name.
        data_directory: The directory with a known data set's files.
        run: The directory of the job's run, if it has one: it keeps the classifier that the run started from.
        progress: As ``prepare`` takes it.

    Raises:
        RunError: The images are not those of the job.
    """
    started = time.perf_counter()
    recipe = job.recipe
    resumed = Run(run) if run else None
    earlier = [] if data or resumed else earlier_splits(recipe, job.start)
    loaded = load_run_data(recipe, data, data_directory, FolderOptions(), progress, resumed, earlier)
    run_data = hold_out_validation(loaded)
    if differences := data_differences(job.data, _data_info(loaded, run_data)):
        lines = "\n  ".join(f"{name}: {text}" for name, text in differences.items())
        raise RunError(f"{job.data.name}: the images are not those of the job:\n  {lines}")
    if job.deterministic:
        get_backend(job.backend).set_deterministic(job.device)
    start = None
    if job.start is not None:
        start = _read_start(job.start, run, job.make_network())
    elif recipe.pretrained:
        start, _ = read_start(recipe.pretrained, run)
    return PreparedJob(job, run_data, start, time.perf_counter() - started)


def choose_recipe(request: Request) -> Chosen:
    """The recipe that a request means, its changes applied.

    Raises:
        RecipeError: There is no such recipe, or a change does not fit it.
        RunError: There is no such run to resume or to repeat.
    """
    if request.repeat is not None and request.recipe is not None:
        raise RecipeError("--from and --recipe: both say which recipe to take; give one of them")
    given = _given(request)
    if request.from_scratch and (start := given.get("pretrained") or request.start_from):
        option = "--pretrained" if given.get("pretrained") else "--start-from"
        raise RecipeError(f"--from-scratch and {option} {start}: both choose the start weights; give one")
    if request.budget is not None and ("epochs" in given or request.resume_from is not None):
        other = "--epochs" if "epochs" in given else "--resume"
        raise RecipeError(f"--budget and {other}: both choose the number of epochs; give one")
    resumed = Run(request.resume_from) if request.resume_from is not None else None
    repeated = Run(request.repeat) if request.repeat is not None and resumed is None else None
    source = resumed or repeated
    changes, settings = dict(request.changes), dict(request.settings)
    if isinstance(request.recipe, Recipe):
        recipe, name = request.recipe, "custom"
    elif request.recipe is None and source is not None:
        recipe, name = source.config.recipe, source.config.recipe_name
    else:
        name = request.recipe or default_recipe(changes.get("data"))
        if name == FOLDER and given.get("freeze") and not given.get("pretrained") and not request.from_scratch:
            name = PHOTOS  # there is no other start whose layers could be frozen
        recipe = get_recipe(name)
        if "pretrained" in changes and request.recipe is None:
            recipe = change(recipe, {"model": "auto"})
    if "pretrained" in settings:  # before the learning rate, which is a tenth of it unless it is given
        changes["pretrained"] = settings.pop("pretrained")
    if "model" in settings:  # first: another model drops the image size, and must not drop one that was asked for
        recipe = change(recipe, {"model": settings.pop("model")}, "--set")
    needs_validation = changes.get("target_accuracy") or changes.get("patience")
    if needs_validation and not (recipe.validation or "validation" in changes or "validation" in settings):
        changes["validation"] = HELD_OUT
    recipe = change(recipe, changes, "command line")
    recipe = change(recipe, settings, "--set")
    if request.from_scratch and recipe.pretrained:
        recipe = change(recipe, {"pretrained": ""}, "--from-scratch")
    overrides = {field: value for field, value in request.resume_override.items() if field != "device"}
    recipe = change(recipe, overrides, "--resume-override")
    return Chosen(recipe, request.recipe_name or name, resumed, repeated)


def _given(request: Request) -> dict[str, Any]:
    """The fields of the recipe that a request changes."""
    return {**request.changes, **request.settings}


def _wishes(request: Request, chosen: Chosen) -> Wishes:
    """What may be chosen to fit the images: what the request leaves open of the default recipe of folders."""
    given = _given(request)
    if chosen.name != FOLDER or request.recipe is not None or chosen.resumed or chosen.repeated:
        return NO_WISHES
    batch = "batch_size" not in given
    elsewhere = request.from_scratch or request.start_from is not None or given.get("pretrained")
    if elsewhere or given.get("model", AUTO) not in (AUTO, get_recipe(PHOTOS).model):
        return Wishes(batch=batch)
    changes, settings = ({k: v for k, v in d.items() if k != "model"} for d in (request.changes, request.settings))
    few = msgspec.structs.replace(request, recipe=PHOTOS, changes=changes, settings=settings)
    return Wishes(choose_recipe(few).recipe, batch)


def finished_run(request: Request) -> Run | None:
    """The run that a request resumes, if it is finished and the request changes nothing; else None.

    Raises:
        MlpconvError: As ``choose_recipe``.
    """
    if request.resume_from is None:
        return None
    chosen = choose_recipe(request)
    run = chosen.resumed
    return run if run and chosen.recipe == run.config.recipe and run.result is not None else None


def _choose_device(request: Request, chosen: Chosen) -> tuple[str, str, Precision, bool]:
    """The names of back end and device, the precision, and whether only deterministic algorithms are to be used."""
    name, device = request.backend, request.resume_override.get("device", request.device)
    precision, deterministic = request.precision, request.deterministic
    if chosen.repeated:
        name = name or available_backend(chosen.repeated.config.backend)
    if chosen.resumed:
        # They were chosen on the machine where the run started; this machine might choose others.
        job = chosen.resumed.config
        name, device, precision = name or job.backend, device or job.device, precision or job.precision
        deterministic = deterministic or job.deterministic
    name = name or available_backend()
    backend = get_backend(name)
    try:
        device, precision = backend.choose(device, chosen.recipe.precision or precision)
    except PrecisionError as error:
        if chosen.resumed is None:
            raise
        raise PrecisionError(
            f"{chosen.resumed.path}: the run computes in bfloat16, which this processor cannot, so a resume here would "
            f"not be exact; to continue it in float32: --resume-override precision=float32 ({error})"
        ) from None
    if deterministic:
        backend.set_deterministic(device)
    return name, device, precision, deterministic


def _resolve_epochs(recipe: Recipe, images: int) -> Recipe:
    """The recipe with the epochs that its ``min_steps`` asks for with so many training images, and what follows."""
    if recipe.freeze:
        return msgspec.structs.replace(recipe, epochs=1, patience=0, image_sizes=(), min_steps=0, fit_head=True)
    return with_epochs(recipe, epochs_of(recipe, images))


def hold_out_validation(data: RunData) -> RunData:
    """The data with the recipe's share of validation images, where the data has no validation images itself."""
    if not data.recipe.validation or data.validation is not None:
        return data
    train, test = data.splits
    # The same images for every seed: runs are compared on them.
    rest, validation = hold_out(train, max(round(data.recipe.validation * len(train)), 1), seed=0)
    return data._replace(splits=Splits(rest, test), validation=validation)


def _data_info(loaded: RunData, run_data: RunData) -> DataInfo:
    """The description of the images. loaded: the data before validation images were held out of it."""
    train, test = run_data.splits
    return DataInfo(
        run_data.name,
        train.class_names,
        len(train),
        len(test),
        loaded.splits.train.fingerprint(),
        background(train.images),
        len(run_data.validation) if run_data.validation else 0,
    )


def _make_network(recipe: Recipe, data: Splits) -> Network:
    """The recipe's network for these images, checked at every image size that the recipe uses."""
    train = data.train
    network = create_model(recipe.model, train.num_classes, train.image_shape[2])
    size = recipe.image_size or max(network.input_size)
    resized = network.replace(input_size=(size, size))
    _check_size(resized, size, train.num_classes, max(network.input_size))
    if not weight_shapes(resized):
        raise RecipeError(f"model {recipe.model}: the network has no weights, so there is nothing to train")
    for _, other in recipe.image_sizes:
        _check_size(resized, other, train.num_classes, size)
    return resized


def _check_size(network: Network, size: int, classes: int, made_for: int) -> None:
    """Raise RecipeError if the network, with its weights, cannot classify images of ``size``."""
    shape = (network.input_channels, size, size)
    try:
        same = output_shape(network, shape) == (classes,) and weight_shapes(network, shape) == weight_shapes(network)
    except NetworkError as error:
        raise RecipeError(f"image_size {size}: {error}") from None
    if not same:
        raise RecipeError(f"image_size {size}: the network's last layers fix the images at {made_for} pixels")


def _check_head(recipe: Recipe, pretrained: StoredClassifier, network: Network) -> Recipe:
    """The recipe, without a fit of the head where there can be none.

    Raises:
        RecipeError: The recipe trains nothing but the head.
        RunError: The first layers of the networks differ.
    """
    taken = compare(pretrained, network)
    if taken.everything and find_head(network) is not None:
        return recipe
    if recipe.freeze:
        reason = (
            f"{network.name} differs from its network, {pretrained.network.name}, from {taken.left[0]} on; leave "
            "--model out, or train all layers, without --freeze"
            if taken.left
            else f"{network.name} does not end in a convolution and global average pooling; leave --freeze out"
        )
        raise RecipeError(f"--freeze, --pretrained {pretrained.path}: {reason}")
    return msgspec.structs.replace(recipe, fit_head=False)


def _make_preprocess(
    recipe: Recipe, network: Network, data: RunData, pretrained: StoredClassifier | None
) -> Preprocess:
    train = data.splits.train
    values: dict[str, Any] = {"fit": recipe.fit, "antialias": recipe.antialias, "max_pixels": recipe.max_pixels}
    if data.loaded_folder is not None:
        values["bits"] = data.loaded_folder.folder.bits
    if recipe.normalize == "data":
        std = tuple(float(value) or 1.0 for value in train.std)
        values |= {"mean": tuple(map(float, train.mean)), "std": std}
    if pretrained is not None:  # as its layers learned
        values |= normalization(pretrained.preprocess, network.input_channels)
    return fitting_preprocess(train, max(network.input_size), **values)


def _read_start(source: str, run: Path | None, network: Network) -> StoredClassifier:
    """The classifier from whose weights to start; it must have the same network, but may have another image size."""
    stored, _ = read_start(source, run)
    check_weights(network, stored.weights, f"--start-from {source}")
    return stored
