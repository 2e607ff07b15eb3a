"""Measure how often the intervals of cross-validation contain the truth.

    python tools/measure_intervals.py --cifar10 cifar10-jpeg.tar.xz --work photos

Each trial draws 18 pictures of each class of CIFAR-10 out of 400, fits the last block of `nin_photo` as `mlpconv train`
does for few pictures, and compares what cross-validation says with the accuracy on the other pictures: its 95 %
interval, and what it expects of twice as many pictures. The features are computed once, in minutes.
"""

import argparse
from pathlib import Path

import numpy as np
from measure_photos import draw, folders, write_listing

from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.training.cross_validation import cross_validate
from mlpconv.training.head_fit import Examples, choose_strength, fit

OF_A_CLASS, PICTURES = 400, 18
"""Pictures of each class in all, and in a trial."""


def main() -> None:
    """Measure, and print the result."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cifar10", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True, help="The folder of tools/measure_photos.py.")
    arguments.add_argument("--trials", type=int, default=200)
    arguments.add_argument("--first", type=int, default=0, help="Seed of the first trial.")
    options = arguments.parse_args()
    files = folders(options.work, options.cifar10)["cifar10-2000"]
    listing = options.work / "folders" / "intervals.csv"
    write_listing(listing, draw(files, 0, OF_A_CLASS))
    prepared = prepare(Request(changes={"data": str(listing)}))
    assert prepared.head is not None
    names, everything = prepared.data.train.class_names, prepared.head.seen
    inside, missed, within, off = 0, [], 0, []
    for trial in range(options.first, options.first + options.trials):
        few, others = _drawn(everything, PICTURES, trial)
        strength = choose_strength(few)
        found = cross_validate(few, strength, len(few.labels), names)
        accuracy = _accuracy(few, others, strength)
        low, high = found.interval
        inside += low <= accuracy <= high
        off.append((found.accuracy - accuracy) / np.sqrt(accuracy * (1 - accuracy) / found.images))
        print(f"{trial}: {found.accuracy:.3f} ({low:.3f} to {high:.3f}), on others {accuracy:.3f}", flush=True)
        if found.doubled is not None:
            twice, fewer = _drawn(everything, 2 * PICTURES, trial)
            reached = _accuracy(twice, fewer, choose_strength(twice))
            missed.append(found.doubled.accuracy - reached)
            within += found.doubled.low <= reached <= found.doubled.high
    print(f"{inside} of {options.trials} intervals contain the accuracy on {len(others.labels):,} others")
    print(f"standard deviation of the error, in those of so many independent images: {np.std(off):.2f}")
    print(
        f"{len(missed)} curves extrapolated: {np.mean(missed):+.3f} on average (standard deviation "
        f"{np.std(missed):.3f}); {within} intervals contain the accuracy with twice as many"
    )


def _drawn(everything: Examples, each: int, seed: int) -> tuple[Examples, Examples]:
    """So many pictures of each class, and the others. The first ones do not depend on how many are drawn."""
    order = np.random.default_rng(seed).permutation(len(everything.labels))
    ranks = np.empty(len(order), int)
    for label in range(everything.classes):
        of_class = order[everything.labels[order] == label]
        ranks[of_class] = np.arange(len(of_class))
    return everything.subset(np.flatnonzero(ranks < each)), everything.subset(np.flatnonzero(ranks >= each))


def _accuracy(few: Examples, others: Examples, strength: float) -> float:
    return float((fit(few, strength).logits(others.features[0]).argmax(1) == others.labels).mean())


if __name__ == "__main__":
    main()
