"""What could hide a mistake in a recording, said before anybody trusts the check."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgrad.parity.recording import NumPy, Recording
from fgrad.parity.starting import arrays

if TYPE_CHECKING:
    from fgrad.parity.running import Check


def warnings(recording: Recording, checked: "Check", dtypes: Sequence[str]) -> list[str]:
    """Return a sentence for each thing that a mistake could hide behind.

    Args:
        recording: The recording.
        checked: What is checked.
        dtypes: The precisions that it is run in.

    Returns:
        The sentences.
    """
    found = []
    first = recording.steps["float64"][0]
    for name in recording.parameters:
        values = [step.before[name] for step in recording.steps["float64"]]
        if all(_is_symmetric(value) for value in values):
            found.append(f"{name} is symmetric: a transposed weight would not show")
        if values[0].size > 1 and all(np.ptp(value) == 0 for value in values):
            found.append(f"{name} has one value throughout: another order would not show")
        if name in recording.frozen:
            found.append(f"{name} takes no gradient in PyTorch: the port's is not compared")
        elif not any(np.any(step.gradients[name]) for step in recording.steps["float64"]):
            found.append(f"{name} has a gradient of zero: a wrong one could be zero as well")
    for i, (x, target) in enumerate(recording.batches):
        for part, value in (("x", x), ("target", target)):
            for array in arrays(value):
                found += [f"batch {i}: {part} {what}" for what in _hides(array, part)]
    if len(recording.steps["float64"]) == 1:
        found.append("one step: a wrong momentum or another order of batches would not show")
    if first.loss == 0:
        found.append("the loss is zero: a wrong factor would not show")
    uncompared = [
        name
        for name in recording.buffers
        if not checked.buffers.shapes
        and any(
            not np.array_equal(step.before[name], step.after[name])
            for step in recording.steps["float64"]
        )
    ]
    if uncompared:
        found.append(f"not compared, since the port has no state: {', '.join(uncompared)}")
    if "float64" not in dtypes:
        found.append("not run in float64: a mistake below float32's noise would not show")
    return found


def _is_symmetric(value: NumPy) -> bool:
    square = value.ndim == 2 and value.shape[0] == value.shape[1] > 1
    return square and np.array_equal(value, value.T)


def _hides(array: NumPy, part: str) -> list[str]:
    what: list[str] = []
    if array.ndim == 0 or array.size < 2:
        return what
    if np.ptp(array) == 0:
        what.append("has one value throughout: another order would not show")
        return what
    if array.shape[0] == 1 and part == "x":
        what.append("is one sample: a sum in place of a mean would not show")
    elif all(np.array_equal(array[0], row) for row in array[1:]):
        what.append("has the same sample throughout: another order would not show")
    square = array.ndim >= 3 and array.shape[-1] == array.shape[-2]
    if square and np.array_equal(array, np.swapaxes(array, -1, -2)):
        what.append("is symmetric: swapped axes would not show")
    return what
