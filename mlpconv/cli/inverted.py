"""The warning of ``predict`` and ``explain`` for images that are light on dark where training was dark on light."""

from typing import TYPE_CHECKING

from mlpconv.cli.output import warn

if TYPE_CHECKING:
    from mlpconv.inference.classifier import Classifier

MAX_LISTED_NAMES = 5


def warn_if_inverted(classifier: "Classifier", names: list[str], invert: bool) -> None:
    """Warn of images whose background is on the other side of gray than that of the training images.

    Args:
        classifier: Where the background of the training images is stored.
        names: The images that look inverted; no warning if there are none.
        invert: Whether the images were inverted already, by ``--invert``.
    """
    if not names:
        return
    background = classifier.stored.background
    assert background is not None
    trained_on = "dark on light" if background > 0.5 else "light on dark"
    more = f" and {len(names) - MAX_LISTED_NAMES:,} more" if len(names) > MAX_LISTED_NAMES else ""
    warn(
        f"{', '.join(names[:MAX_LISTED_NAMES])}{more}: the background differs from that of the training images, "
        f"which are {trained_on}; " + ("try without --invert" if invert else "try --invert")
    )
