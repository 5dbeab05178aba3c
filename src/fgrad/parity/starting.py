"""What a run starts from: the initial weights and the batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fgrad.parity.compare import Slot, compare
from fgrad.parity.mapping import ParameterMap
from fgrad.parity.recording import NumPy, Recording
from fgrad.parity.results import Comparison
from fgrad.parity.trees import flatten
from fgrad.types import Batch


def compare_weights(
    recording: Recording, weights: ParameterMap, initial: Sequence[NumPy]
) -> list[Comparison]:
    """Compare the port's own initial parameters with the recording's.

    Args:
        recording: The recording.
        weights: Which number is which.
        initial: The port's arrays.

    Returns:
        A comparison for each parameter.
    """
    found = weights.to_torch(initial)
    return [
        compare(
            Slot(0, "initial weights", name, "float32"),
            recording.initial[name].astype(np.float32),
            found[name],
            noise=0.0,
        )
        for name in recording.parameters
    ]


def compare_batches(
    recording: Recording, batches: Sequence[tuple[Batch, Batch]]
) -> list[Comparison]:
    """Compare the port's own batches with those that each recorded step took.

    Args:
        recording: The recording.
        batches: Pairs of inputs and target, in the order in which the port trains on them.

    Returns:
        A comparison for each step and array.

    Raises:
        ValueError: If there are fewer than in the recording, or one is no such pair.
    """
    given = list(batches)
    if len(given) != len(recording.batches):
        raise ValueError(
            f"batches: expected {len(recording.batches)} pairs (x, target), got {len(given)}"
        )
    comparisons = []
    for i, step in enumerate(recording.steps["float32"]):
        pair = given[step.batch]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"batches: expected pairs (x, target), got {type(pair).__name__}")
        parts = zip(("x", "target"), recording.batches[step.batch], pair, strict=True)
        for part, expected, actual in parts:
            theirs, ours = (arrays(value) for value in (expected, actual))
            if len(theirs) != len(ours):
                raise ValueError(
                    f"batches: expected {len(theirs)} arrays in {part}, got {len(ours)}"
                )
            for j, (value, other) in enumerate(zip(theirs, ours, strict=True)):
                slot = Slot(i, "batch", f"{part}/{j}" if j else part, "float32")
                if value.dtype.kind == other.dtype.kind != "f":
                    other = other.astype(value.dtype)
                comparisons.append(compare(slot, value, other, noise=0.0))
    return comparisons


def arrays(value: Batch) -> list[NumPy]:
    """Return the arrays of a batch's part, in order.

    Args:
        value: An array, or tuples and dicts of them.

    Returns:
        NumPy arrays.

    Example:
        >>> arrays({"a": np.zeros(2), "b": (np.ones(1),)})
        [array([0., 0.]), array([1.])]
    """
    leaves: list[Any] = flatten(value, lambda leaf: hasattr(leaf, "shape"))[0]
    return [np.asarray(leaf) for leaf in leaves]
