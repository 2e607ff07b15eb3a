"""What a run that started from another classifier's weights measures in addition, on images that this one never saw:
the classes that both know before and after, and cross-validation on frozen features."""

import numpy as np

from mlpconv.data.folders.copies import groups_of_copies
from mlpconv.errors import RunError
from mlpconv.inference.classifier import is_file
from mlpconv.jobs.earlier_splits import earlier_splits
from mlpconv.jobs.fitted_head import examples
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.run_data import same_path
from mlpconv.models import shipped_weights
from mlpconv.runs.records import KnownClasses
from mlpconv.runs.run import Run
from mlpconv.training.cross_validation import CrossValidation, cross_validate
from mlpconv.training.metrics import FEW_IMAGES, Evaluation

MAX_IMAGES = 5000
"""The most images that are cross-validated."""
MAX_GENERATIONS = 20
"""Of the runs from whose weights a run started."""


def learned_images(prepared: PreparedJob) -> frozenset[bytes] | None:
    """The SHA-256 of the files from which the start weights learned; None if that is not known.

    It is known of runs that were trained on a folder, and of a classifier that was trained on other data.
    """
    if prepared.start is None:
        return frozenset()
    found: set[bytes] = set()
    recipe, start, recorded = prepared.recipe, prepared.job.start, False
    source = start or recipe.pretrained
    for _ in range(MAX_GENERATIONS):
        if shipped_weights(source) is not None:  # they learned from other pictures
            break
        try:
            for split in earlier_splits(recipe, source):
                recorded = True
                found |= {digest for digest, number in split.splits.items() if number != 2}
            config = Run(source).config if not is_file(source) else None
        except RunError:
            return None
        source = (config.start or config.recipe.pretrained) if config else ""
        if not source:
            break
    same = prepared.start.data == prepared.job.data.name or same_path(prepared.start.data, prepared.job.data.name)
    return None if same and not recorded else frozenset(found)


def known_classes(prepared: PreparedJob, test: Evaluation) -> KnownClasses | None:
    """The accuracy before and after on the test images of the classes that the start weights know too.

    Args:
        prepared: The job.
        test: The evaluation of the trained network on the test images.

    Returns:
        The comparison; None without such classes, or where the start weights may have learned from test images.
    """
    start, data = prepared.start, prepared.data.test
    if prepared.taken is None or start is None:
        return None
    names = [name for name in data.class_names if name in start.class_names]
    learned = learned_images(prepared)
    if not names or learned is None or start.preprocess.channels != data.image_shape[2]:
        return None
    digests = _digests(prepared)
    new = np.array([digest not in learned for digest in digests[-len(data) :]]) if digests else np.ones(len(data), bool)
    chosen = np.flatnonzero(new & np.isin(data.labels, [data.class_names.index(name) for name in names]))
    if not len(chosen):
        return None
    job = prepared.job
    model = prepared.backend.build(start.network, start.preprocess, precision=job.precision, device=job.device)
    model.load_weights(start.weights)
    before = np.array(start.class_names)[model.logits(data.images[chosen]).argmax(1)]
    true = np.array(data.class_names)[data.labels[chosen]]
    after = test.predicted[chosen] == data.labels[chosen]
    return KnownClasses(tuple(names), len(chosen), float((before == true).mean()), float(after.mean()))


def cross_validation(prepared: PreparedJob) -> CrossValidation | None:
    """Cross-validation of the last block over all images of a run with frozen layers.

    Returns:
        The result; None if layers are trained, the test images are many, or the frozen layers may have learned from
        some of the images.
    """
    train, test = prepared.data
    parts = [train, *([prepared.validation] if prepared.validation else []), test]
    count = sum(map(len, parts))
    if not prepared.recipe.freeze or prepared.head is None or len(test) >= FEW_IMAGES or count > MAX_IMAGES:
        return None
    learned, digests = learned_images(prepared), _digests(prepared)
    if learned is None or (digests and learned.intersection(digests)):
        return None
    model, recipe, seen = prepared.make_model(), prepared.recipe, [prepared.head.seen]
    seen += [examples(model, prepared.network, part, flips=bool(recipe.augmentation.flip)) for part in parts[1:]]
    together = seen[0]._replace(
        features=np.concatenate([each.features for each in seen], axis=1),
        labels=np.concatenate([each.labels for each in seen]),
    )
    return cross_validate(
        together, prepared.head.strength, len(train), train.class_names, recipe.balance, _groups(prepared)
    )


def _digests(prepared: PreparedJob) -> list[bytes]:
    """The SHA-256 of the file of each training, validation and test image; empty if they are not files."""
    loaded = prepared.run_data.loaded_folder
    return [] if loaded is None else [loaded.folder.digests[row].tobytes() for row in loaded.rows.tolist()]


def _groups(prepared: PreparedJob) -> list[int] | None:
    """The number of the group of copies of each training, validation and test image; None if they are not files."""
    loaded = prepared.run_data.loaded_folder
    if loaded is None:
        return None
    folder = loaded.folder
    return groups_of_copies(folder.pictures, folder.labels, folder.near_pairs)[loaded.rows].tolist()
