"""Why a run starts otherwise: the initial weights, and the batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fgrad.parity.causes.evidence import Evidence, Hypothesis, distance
from fgrad.parity.causes.products import rounded
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
    cause = evidence.explain(name, _of_weights(evidence, name, actual), actual, expected)
    if cause is not None or actual.shape != expected.shape:
        return cause
    evidence.try_("other initial weights")
    error = distance(actual, expected)
    return Cause(
        "other initial weights",
        name,
        f"{name} is no rearrangement of PyTorch's: it was drawn or set otherwise",
        f"start {name} from the recorded state_dict",
        error,
        0.0,
    )


def _of_weights(evidence: Evidence, name: str, actual: NumPy) -> Iterator[Hypothesis]:
    recording = evidence.checked.recording
    value = recording.initial[name]
    kind = recording.modules.get(name.rpartition(".")[0], {}).get("kind", "")
    fix = f"convert {name} to the port's layout once, and keep the order of its numbers"

    def hypothesis(cause: str, what: str, other: NumPy, fix: str = fix) -> Hypothesis:
        return Hypothesis(cause, f"{name} is {what}", fix, other)

    for one in range(value.ndim):
        for other in range(one + 1, value.ndim):
            if value.shape[one] == value.shape[other]:
                yield hypothesis(
                    "transposed weight",
                    f"transposed: its axes {one} and {other} are exchanged",
                    np.swapaxes(value, one, other),
                )
    if value.ndim >= 3:
        axes = tuple(range(2, value.ndim))
        yield hypothesis(
            "flipped kernel", "turned around, as a convolution's", np.flip(value, axes)
        )
    if kind == "Linear" and value.ndim == 2:
        for shape in _images(evidence, value.shape[1]):
            order = np.moveaxis(np.arange(value.shape[1]).reshape(shape), 0, -1).ravel()
            fixed = f"reorder {name}'s columns once, if the port flattens channels last"
            for columns in (order, np.argsort(order)):
                yield hypothesis(
                    "flatten order",
                    f"in another order of a flattened {shape} than PyTorch's",
                    value[:, columns],
                    fixed,
                )
    for other_name in recording.parameters:
        if other_name != name and recording.initial[other_name].shape == value.shape:
            yield hypothesis(
                "swapped weights",
                f"PyTorch's {other_name}",
                recording.initial[other_name],
                f"give {name} the entry {name}, and not {other_name}",
            )
    for axis in range(value.ndim):
        if (rows := _order(value, actual, axis)) is not None:
            permuted = np.take(value, rows, axis)
            yield hypothesis("permuted weight", f"permuted along axis {axis}", permuted)
    ratio = _ratio(value, actual)
    if ratio is not None and ratio != 0:
        yield hypothesis(
            "scaled weights", f"{ratio:.6g} times PyTorch's", value * np.float32(ratio)
        )
    for bits, number in ((7, "bfloat16"), (10, "float16")):
        yield hypothesis(
            "reduced precision",
            f"rounded to {number}",
            rounded(value, bits),
            f"keep {name} in float32",
        )


def _images(evidence: Evidence, features: int) -> list[tuple[int, ...]]:
    shapes = {
        call.outputs[0].shape[1:]
        for call in evidence.step.calls
        if call.outputs and call.outputs[0].ndim == 4
    }
    return [shape for shape in shapes if np.prod(shape) == features and shape[0] > 1]


def _order(value: NumPy, actual: NumPy, axis: int) -> NumPy | None:
    """Return the permutation along an axis that makes one array of the other, if one does."""
    if value.shape != actual.shape or value.shape[axis] < 2:
        return None
    ours, theirs = (
        np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1) for each in (actual, value)
    )
    rows: dict[bytes, list[int]] = {}
    for i, row in enumerate(theirs):
        rows.setdefault(row.tobytes(), []).append(i)
    order = []
    for row in ours:
        places = rows.get(row.astype(value.dtype).tobytes())
        if not places:
            return None
        order.append(places.pop(0))
    return np.array(order)


def _ratio(value: NumPy, actual: NumPy) -> float | None:
    if value.shape != actual.shape or value.size < 2 or not np.any(value):
        return None
    return float(np.vdot(value, actual) / np.vdot(value, value))


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
    expected, actual = recorded[evidence.step.batch], given[evidence.step.batch]
    before = distance(actual, expected)
    for name in ("other shuffle", "transposed input", "other normalisation"):
        evidence.try_(name)
        found: tuple[str, str] | None = None
        if name == "other shuffle":
            found = _shuffled(recorded, given, part)
        elif name == "transposed input" and part == "x":
            found = _transposed(expected, actual)
        elif name == "other normalisation":
            found = _normalised(recorded, given, part)
        if found is not None:
            return Cause(name, evidence.first.place, *found, before, 0.0)
    return None


def _shuffled(
    recorded: Sequence[NumPy], given: Sequence[NumPy], part: str
) -> tuple[str, str] | None:
    """Say whether the same samples come in another order."""
    if [each.shape for each in recorded] != [each.shape for each in given] or not recorded[0].ndim:
        return None
    ours, theirs = (np.concatenate(each) for each in (given, recorded))
    if _order(theirs, ours.astype(theirs.dtype), 0) is None:
        return None
    fix = "shuffle as PyTorch does, fgrad.random.Generator(seed).randperm, or feed the same batches"
    return f"{part} has the same samples in another order", fix


def _transposed(expected: NumPy, actual: NumPy) -> tuple[str, str] | None:
    if actual.size != expected.size or actual.ndim != expected.ndim or actual.ndim < 3:
        return None
    moved = np.moveaxis(actual, -1, 1)
    if np.array_equal(moved, expected):
        return "x has its channels last", "feed (N, channels, height, width); transpose in apply"
    if actual.shape == expected.shape and np.array_equal(np.swapaxes(actual, -1, -2), expected):
        return "x has its last two axes exchanged", "feed rows before columns, as PyTorch does"
    return None


def _normalised(
    recorded: Sequence[NumPy], given: Sequence[NumPy], part: str
) -> tuple[str, str] | None:
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
    return (
        f"{part} is {scale:.6g} times PyTorch's plus {shift:.6g}",
        f"normalise {part} as PyTorch's transforms do",
    )
