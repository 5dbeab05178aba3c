"""Why a loss differs, taken of the same output and target."""

import math
from collections.abc import Iterator

import numpy as np

from fgrad.parity.causes.activations import softmax
from fgrad.parity.causes.evidence import Evidence, Hypothesis
from fgrad.parity.recording import NumPy, Step
from fgrad.parity.results import Cause
from fgrad.parity.starting import arrays


def explain(evidence: Evidence) -> Cause | None:
    """Return the mistake behind another loss.

    Args:
        evidence: The mismatch and its port.

    Returns:
        The cause, or None.
    """
    expected = evidence.step.loss
    forward = evidence.forward
    actual = np.asarray(forward.loss_of_recorded)
    return evidence.explain("loss", _of_loss(evidence, float(actual)), actual, expected)


def _of_loss(evidence: Evidence, actual: float) -> Iterator[Hypothesis]:
    step, loss = evidence.step, evidence.step.loss
    (output, *_), (target, *_) = (
        arrays(step.output),
        arrays(evidence.checked.recording.batches[step.batch][1]),
    )
    reduction = evidence.checked.recording.loss["config"].get("reduction", "")
    samples = target.shape[0] if target.ndim else 1
    sizes = {
        samples: "the number of samples",
        target.size: "the number of target values",
        output.size: "the number of outputs",
    }
    for axis in range(1, output.ndim):
        sizes[math.prod(output.shape[axis:])] = f"the number of outputs along axes {axis} and on"
        sizes[math.prod(output.shape[:axis])] = f"the number of outputs along axes before {axis}"
    for size, what in sizes.items():
        if size > 1:
            yield _factor(
                loss,
                float(size),
                "loss reduction",
                f"{size}, {what}, times PyTorch's: a sum in place of a mean",
                f"take the mean: PyTorch's reduction is {reduction or 'mean'!r}",
            )
            yield _factor(
                loss,
                1 / size,
                "loss reduction",
                f"PyTorch's over {size}, {what}: a mean in place of a sum",
                f"take the sum: PyTorch's reduction is {reduction or 'sum'!r}",
            )
    yield from _of_classes(evidence, step, output, target)
    yield from _of_values(step, output, target)
    ratio = _constant_ratio(evidence)
    for factor in (0.5, 2.0, -1.0, *([] if ratio is None else [ratio])):
        yield _factor(
            loss,
            factor,
            "loss factor",
            f"{factor:.6g} times PyTorch's",
            f"multiply the loss by {1 / factor:.6g}",
        )


def _factor(loss: NumPy, factor: float, name: str, what: str, fix: str) -> Hypothesis:
    return Hypothesis(name, f"the loss is {what}", fix, loss * np.asarray(factor, loss.dtype))


def _constant_ratio(evidence: Evidence) -> float | None:
    """Return how many times PyTorch's loss the port's is, if that is so in every step."""
    losses = [c for c in evidence.comparisons if (c.stage, c.dtype) == ("loss", evidence.dtype)]
    ratios = [c.actual / c.expected for c in losses if c.expected]
    if len(ratios) < 2 or not ratios[0] or np.ptp(ratios) > 1e-5 * abs(ratios[0]):
        return None
    return ratios[0]


def _of_classes(
    evidence: Evidence, step: Step, output: NumPy, target: NumPy
) -> Iterator[Hypothesis]:
    """Yield cross entropies of class indices with a mistake in them."""
    if target.dtype.kind not in "iu" or target.shape != (output.shape[0], *output.shape[2:]):
        return
    kept = np.expand_dims((target >= 0) & (target < output.shape[1]), 1)  # not an ignored index
    index = np.where(kept, np.expand_dims(target, 1), 0)

    def entropy(log_probabilities: NumPy) -> NumPy:
        return np.asarray(-np.take_along_axis(log_probabilities, index, 1)[kept].mean())

    one, fix = softmax(output, 1), "give the loss the scores as they are"
    yield Hypothesis(
        "softmax twice",
        "the loss takes the softmax of what a softmax was taken of",
        fix,
        entropy(np.log(softmax(one, 1))),
    )
    yield Hypothesis(
        "softmax twice",
        "the loss takes the softmax of log-probabilities' softmax",
        fix,
        entropy(np.log(softmax(np.log(softmax(one, 1)), 1))),
    )
    for axis in range(output.ndim):
        if axis != 1:
            yield Hypothesis(
                "softmax axis",
                f"the loss takes the softmax over axis {axis}, PyTorch over the classes, axis 1",
                "log_softmax(scores, axis=1)",
                entropy(np.log(softmax(output, axis))),
            )
    yield Hypothesis(
        "missing softmax",
        "the loss takes the scores for log-probabilities",
        "take log_softmax of the scores, axis 1, first",
        entropy(output),
    )
    log = np.log(one)
    for smoothing in (0.1, 0.05, 0.2):
        smoothed = (1 - smoothing) * entropy(log) - smoothing * log.mean()
        yield Hypothesis(
            "label smoothing",
            f"the labels are smoothed by {smoothing}",
            "no label smoothing, as in PyTorch's loss",
            np.asarray(smoothed, step.loss.dtype),
        )
    smoothing = evidence.checked.recording.loss["config"].get("label_smoothing", 0.0)
    if smoothing:
        yield Hypothesis(
            "label smoothing",
            "the labels are not smoothed",
            f"smooth the labels by {smoothing}",
            entropy(log),
        )


def _of_values(step: Step, output: NumPy, target: NumPy) -> Iterator[Hypothesis]:
    """Yield other losses of real values."""
    if output.shape != target.shape or target.dtype.kind != "f":
        return
    error = np.abs(output - target)
    huber = np.where(error < 1, error**2 / 2, error - 0.5)
    for value, what in (
        (error**2, "squared errors"),
        (error, "absolute errors"),
        (huber, "Huber's errors"),
    ):
        for reduced, how in ((value.mean(), "mean"), (value.sum(), "sum")):
            if not np.isclose(reduced, step.loss):
                yield Hypothesis(
                    "other loss",
                    f"the loss is the {how} of {what}",
                    "take PyTorch's loss",
                    np.asarray(reduced, step.loss.dtype),
                )
    root = np.sqrt((error**2).mean())
    yield Hypothesis(
        "other loss", "the loss is the root of the mean square", "take no root", np.asarray(root)
    )
