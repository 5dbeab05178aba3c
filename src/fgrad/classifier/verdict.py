"""Under- or overfitting, as it is read from the losses."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

_CLEARLY: Final = 0.1  # above another loss: less is chance, the images being few
_FALL: Final = 0.05  # of a loss
_SMOOTHED: Final = 5  # epochs, from which on a single one counts for little
_CHANCE: Final = 0.9  # nothing was learnt: the loss is still this share of guessing's


class Verdict(NamedTuple):
    """What the losses say.

    Attributes:
        name: `"overfitting"`, `"underfitting"`, `"good fit"` or `"undecided"`.
        reason: The numbers that say it, in a sentence.
    """

    name: str
    reason: str


def judge(
    training: Sequence[float],
    validation: Sequence[float],
    *,
    classes: int,
    standard_error: float = 0.0,
) -> Verdict:
    r"""Read from the losses of a run whether it learnt too little or too much by heart.

    In this order: the training loss is hardly below $\log C$, what guessing gives: underfitting.
    The validation loss ended more than 10% and its standard error above its lowest, and above the
    training loss, which went on falling: overfitting. It ended at more than twice the training
    loss, and more than two standard errors above it: overfitting as well. Both losses fell by more
    than 5%, and that of validation by more than its standard error, in the last fifth of the
    epochs: underfitting, there is more to learn. Else it is a good fit. From five epochs on, the
    validation loss is smoothed first, as the median of three epochs.

    Args:
        training: The mean cross entropy on the training images, epoch by epoch.
        validation: The same on images that were not trained on.
        classes: The number of classes $C$.
        standard_error: How far the last validation loss may be off because the images are few.

    Returns:
        The verdict; undecided after less than two epochs.

    Raises:
        ValueError: If there are not as many losses of both kinds.

    Example:
        >>> verdict = judge([1.0, 0.5, 0.2], [1.1, 0.7, 0.9], classes=10)
        >>> verdict.name
        'overfitting'
        >>> verdict.reason.partition(", while")[0]
        'since epoch 2 the validation loss rose from 0.7 to 0.9'
    """
    if len(training) != len(validation):
        raise ValueError(
            f"validation: expected {len(training)} losses as in training, got {len(validation)}"
        )
    epochs = len(training)
    if epochs < 2:
        return Verdict("undecided", f"the losses of {epochs} epoch do not show where they go")
    guessing = math.log(classes)
    if training[-1] > _CHANCE * guessing:
        return Verdict(
            "underfitting",
            f"the training loss, {training[-1]:.3g}, is hardly below {guessing:.3g}, which "
            "guessing gives",
        )
    smooth = list(validation)
    if epochs >= _SMOOTHED:
        smooth = [statistics.median(validation[max(0, i - 1) : i + 2]) for i in range(epochs)]
    best = min(range(epochs), key=smooth.__getitem__)
    lowest, last = smooth[best], smooth[-1]
    rose = last > max((1 + _CLEARLY) * lowest, lowest + standard_error)
    if rose and training[-1] < min(last, training[best]):
        return Verdict(
            "overfitting",
            f"since epoch {best + 1} the validation loss rose from {lowest:.3g} to {last:.3g}, "
            f"while the training loss fell from {training[best]:.3g} to {training[-1]:.3g}",
        )
    if last > max(2 * training[-1], training[-1] + 2 * standard_error):
        times = f", {last / training[-1]:.2g} times the" if training[-1] else ", far above the"
        return Verdict(
            "overfitting",
            f"the validation loss ended at {last:.3g}{times} training loss of {training[-1]:.3g}",
        )
    recent = max(1, epochs // 5)
    before = (training[-1 - recent], smooth[-1 - recent])
    falls = [
        1 - after / start if start else 0.0
        for start, after in zip(before, (training[-1], last), strict=True)
    ]
    if min(falls) > _FALL and before[1] - last > standard_error:
        span = "epoch" if recent == 1 else f"{recent} epochs"
        return Verdict(
            "underfitting",
            f"both losses were still falling, in the last {span} from {before[0]:.3g} to "
            f"{training[-1]:.3g} in training and from {before[1]:.3g} to {last:.3g} in "
            "validation: train longer",
        )
    same = f"{lowest:.3g}" == f"{last:.3g}"
    low = "" if same else f" (lowest {lowest:.3g}, in epoch {best + 1})"
    return Verdict(
        "good fit",
        f"the validation loss ended at {last:.3g}{low}, the training loss at {training[-1]:.3g}",
    )
