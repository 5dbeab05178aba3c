"""What people make of a weight: the same numbers in another order, or with fewer bits."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from fgrad.parity.recording import NumPy, Step


def rearrangements(weight: NumPy) -> Iterator[tuple[str, str, NumPy]]:
    """Yield a weight as people take it by mistake.

    Args:
        weight: The weight, of any shape.

    Yields:
        The mistake's name, what the weight then is, and its numbers in the same shape.

    Example:
        >>> for name, what, other in rearrangements(np.array([[1, 2], [3, 4]])):
        ...     print(f"{name}: {what} {other.tolist()}")
        transposed weight: with its axes 0 and 1 exchanged [[1, 3], [2, 4]]
        permuted weight: with its rows in reverse order [[3, 4], [1, 2]]
        permuted weight: with its columns in reverse order [[2, 1], [4, 3]]
    """
    for one, other in itertools.combinations(range(weight.ndim), 2):
        if weight.shape[one] == weight.shape[other]:
            what = f"with its axes {one} and {other} exchanged"
            yield "transposed weight", what, np.swapaxes(weight, one, other)
    if weight.ndim >= 3:  # (out, in, height, width): a convolution, where PyTorch's is correlation
        turned = np.flip(weight, tuple(range(2, weight.ndim)))
        yield "flipped kernel", "turned around, as a convolution's", turned
    if weight.ndim == 2:
        yield "permuted weight", "with its rows in reverse order", weight[::-1]
        yield "permuted weight", "with its columns in reverse order", weight[:, ::-1]


def images(step: Step, features: int) -> dict[str, tuple[int, ...]]:
    """Return the images of a step that have so many numbers when they are flattened.

    Args:
        step: The step.
        features: How many columns a linear layer's weight has.

    Returns:
        Shapes (channels, height, width), by the place of the call that returned the image. One
        channel is left out: there both orders are the same.
    """
    shapes = {call.place: call.outputs[0].shape[1:] for call in step.calls if call.outputs}
    return {
        place: shape
        for place, shape in shapes.items()
        if len(shape) == 3 and math.prod(shape) == features and shape[0] > 1
    }


def flattened(weight: NumPy, shape: tuple[int, ...]) -> tuple[NumPy, NumPy]:
    """Return a linear layer's weight with the columns of an image flattened channels last.

    Args:
        weight: The weight, (out, in).
        shape: The image that is flattened, (channels, height, width).

    Returns:
        The weight for channels last, and what channels last makes of a weight for channels first.

    Example:
        An image of two channels with three pixels each, (c, w), has its numbers at 3 c + w.
        Channels last asks for (w, c) instead: 0 and 3, then 1 and 4, then 2 and 5.

        >>> for each in flattened(np.arange(6)[None], (2, 1, 3)):
        ...     print(each)
        [[0 3 1 4 2 5]]
        [[0 2 4 1 3 5]]
    """
    order = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).ravel()
    return weight[:, order], weight[:, np.argsort(order)]


def rounded(value: NumPy, bits: int) -> NumPy:
    """Return numbers rounded to so many bits of mantissa.

    Args:
        value: The numbers, of any shape.
        bits: How many bits, besides the leading one, which is not stored.

    Returns:
        The nearest numbers with so many bits, ties to even, in the same dtype.

    Example:
        Seven bits leave steps of 2**-7, about 0.008, between 1 and 2.

        >>> rounded(np.float32([1.001, 1.007]), 7)
        array([1.       , 1.0078125], dtype=float32)
    """
    mantissa, exponent = np.frexp(value)  # 0.5 <= mantissa < 1: its first bit is the leading one
    scaled = np.ldexp(mantissa, bits + 1)
    return np.ldexp(np.rint(scaled), exponent - bits - 1).astype(value.dtype)


def permutation(value: NumPy, actual: NumPy, axis: int) -> NumPy | None:
    """Return the order in which an array's slices make the other, if there is one.

    Args:
        value: An array.
        actual: One of the same shape.
        axis: The axis along which both are cut.

    Returns:
        Indices such that `np.take(value, indices, axis)` is `actual`; None if there are none.

    Example:
        >>> permutation(np.array([[1, 2], [3, 4], [1, 2]]), np.array([[3, 4], [1, 2], [1, 2]]), 0)
        array([1, 0, 2])
    """
    if value.shape != actual.shape or value.shape[axis] < 2:
        return None
    ours, theirs = (
        [row.tobytes() for row in np.moveaxis(each.astype(value.dtype), axis, 0)]
        for each in (actual, value)
    )
    # Slices that are equal are handed out one after the other, so that none is used twice.
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(theirs):
        places.setdefault(row, []).append(i)
    order = [rows.pop(0) if (rows := places.get(row)) else -1 for row in ours]
    return None if -1 in order else np.array(order)
