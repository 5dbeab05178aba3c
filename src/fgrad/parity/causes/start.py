"""Why a run starts otherwise: the initial weights, and the batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fgrad.parity.causes.evidence import Evidence, Hypothesis, distance
from fgrad.parity.causes.rearranged import (
    flattened,
    images,
    permutation,
    rearrangements,
    rounded,
)
from fgrad.parity.recording import NumPy
from fgrad.parity.results import Cause
from fgrad.parity.starting import arrays
from fgrad.types import Batch


def explain_weights(evidence: Evidence, initial: Sequence[NumPy]) -> Cause | None:
    """Return the mistake behind other initial weights.

    Args:
        evidence: The mismatch and its port.
        initial: The port's arrays.

    Returns:
        The cause; that they are others, if nothing relates them to PyTorch's.
    """
    name = evidence.first.place
    found = evidence.checked.weights.to_torch(initial)
    expected, actual = evidence.checked.recording.initial[name], found[name]
    fixes = {
        "reduced precision": f"keep {name} in float32",
        "swapped weights": f"give {name} its own entry of the state_dict",
    }
    fix = f"convert {name} to the port's layout once, and keep the order of its numbers"
    hypotheses = (
        Hypothesis(cause, f"{name} is {what}", fixes.get(cause, fix), value)
        for cause, what, value in _of_weights(evidence, name, actual)
    )
    cause = evidence.explain(name, hypotheses, actual, expected)
    if cause is not None or actual.shape != expected.shape:
        return cause
    evidence.try_("other initial weights")
    return Cause(
        "other initial weights",
        name,
        f"{name} is no rearrangement of PyTorch's: it was drawn or set otherwise",
        f"start {name} from the recorded state_dict",
        distance(actual, expected),
        0.0,
    )


def _of_weights(evidence: Evidence, name: str, actual: NumPy) -> Iterator[tuple[str, str, NumPy]]:
    """Yield what people start from: the mistake's name, what that is, the array."""
    recording = evidence.checked.recording
    value = recording.initial[name]
    yield from ((cause, f"PyTorch's {what}", other) for cause, what, other in rearrangements(value))
    if (
        recording.modules.get(name.rpartition(".")[0], {}).get("kind") == "Linear"
        and value.ndim == 2
    ):
        for shape in images(evidence.step, value.shape[1]).values():
            what = f"in another order of a flattened {shape} than PyTorch's"
            yield from (("flatten order", what, other) for other in flattened(value, shape))
    for other in recording.parameters:
        if other != name and recording.initial[other].shape == value.shape:
            yield "swapped weights", f"PyTorch's {other}", recording.initial[other]
    if value.shape != actual.shape:
        return
    for axis in range(value.ndim):
        if (order := permutation(value, actual, axis)) is not None:
            what = f"permuted along axis {axis}"
            yield "permuted weight", what, np.take(value, order, axis)
    if value.size > 1 and np.any(value):
        # The multiple that is nearest to the port's; it explains the port's if it is the port's.
        ratio = np.float32(np.vdot(value, actual) / np.vdot(value, value))
        yield "scaled weights", f"{ratio:.6g} times PyTorch's", value * ratio
    for bits, what in ((7, "bfloat16"), (10, "float16")):
        yield "reduced precision", f"rounded to {what}", rounded(value, bits)


def explain_batches(evidence: Evidence, batches: Sequence[tuple[Batch, Batch]]) -> Cause | None:
    """Return the mistake behind other batches.

    Args:
        evidence: The mismatch and its port.
        batches: The port's own batches.

    Returns:
        The cause, or None.
    """
    part, _, number = evidence.first.place.partition("/")
    at, j = ("x", "target").index(part), int(number or 0)
    recorded = [arrays(pair[at])[j] for pair in evidence.checked.recording.batches]
    given = [arrays(pair[at])[j] for pair in batches]
    before = distance(given[evidence.step.batch], recorded[evidence.step.batch])
    for name, rule in (
        ("other shuffle", _shuffled),
        ("transposed input", _transposed),
        ("other normalisation", _normalised),
    ):
        evidence.try_(name)
        if found := rule(recorded, given):
            what, fix = found
            return Cause(name, evidence.first.place, f"{part} {what}", fix, before, 0.0)
    return None


Found = tuple[str, str] | None


def _shuffled(recorded: Sequence[NumPy], given: Sequence[NumPy]) -> Found:
    if [each.shape for each in recorded] != [each.shape for each in given] or not recorded[0].ndim:
        return None
    if permutation(np.concatenate(recorded), np.concatenate(given), 0) is None:
        return None
    fix = "shuffle as PyTorch does, fgrad.random.Generator(seed).randperm, or feed the same batches"
    return "has the same samples in another order", fix


def _transposed(recorded: Sequence[NumPy], given: Sequence[NumPy]) -> Found:
    def turned(start: int, end: int) -> bool:
        pairs = zip(recorded, given, strict=True)
        return all(x.ndim >= 3 and np.array_equal(np.moveaxis(y, start, end), x) for x, y in pairs)

    if turned(-1, 1):
        return "has its channels last", "feed (N, channels, height, width); transpose in apply"
    if turned(-1, -2):
        return "has its last two axes exchanged", "feed rows before columns, as PyTorch does"
    return None


def _normalised(recorded: Sequence[NumPy], given: Sequence[NumPy]) -> Found:
    ours, theirs = (
        np.concatenate([np.ravel(each) for each in values]).astype(np.float64)
        for values in (given, recorded)
    )
    if ours.shape != theirs.shape or ours.size < 3:
        return None
    table: Any = np.stack([theirs, np.ones_like(theirs)], 1)
    (scale, shift), *_ = np.linalg.lstsq(table, ours, rcond=None)
    if distance(scale * theirs + shift, ours) > 1e-5 * np.max(np.abs(ours)):
        return None
    what = f"is {scale:.6g} times PyTorch's plus {shift:.6g}"
    return what, "normalise it as PyTorch's transforms do"
