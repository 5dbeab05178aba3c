"""Pooling of images: the maximum or the mean of each window."""

import functools
from collections.abc import Sequence
from typing import Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from fgrad import _checks
from fgrad._checks import IntPair
from fgrad.functional._windows import Windows, sliding_windows
from fgrad.types import Array, ArrayLike


@overload
def max_pool2d(
    input: ArrayLike,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Array: ...


@overload
def max_pool2d(
    input: ArrayLike,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Array, Array]: ...


def max_pool2d(
    input: ArrayLike,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    dilation: IntPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    r"""Return the maximum of each window of an image.

    $$y_{c,i,j} = \max_{k,l} x_{c,\; s i + d k - p,\; s j + d l - p}$$

    over the positions inside the image. The gradient goes to the first maximum of a window, row
    by row; a NaN is above any number, and the last one counts.

    Args:
        input: $x$, of shape (N, C, H, W) or (C, H, W).
        kernel_size: The window, an integer or (height, width), at least 1.
        stride: $s$, an integer or (vertical, horizontal), at least 1; by default the window's size.
        padding: $p$, an integer or (vertical, horizontal), at most half the window.
        dilation: $d$, an integer or (vertical, horizontal), at least 1.
        ceil_mode: Whether one more window covers what the others leave over at the end, if it
            starts inside the image or before.
        return_indices: Whether to return the maxima's places too.

    Returns:
        $y$, of shape (N, C, H', W') or (C, H', W'); with `return_indices` also the place of each
        maximum in its flattened (H, W) image, an integer array of the same shape.

    Raises:
        ValueError: If an argument is out of range, or `input` has another shape, is not floating
            point or too small for one window.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(16.0).reshape(1, 4, 4)
        >>> print(max_pool2d(image, 2))
        [[[ 5.  7.]
          [13. 15.]]]

    Source: `torch.nn.functional.max_pool2d`.
    """
    input = _checks.images(input)
    windows = sliding_windows(input.shape[-2:], kernel_size, stride, padding, dilation, ceil_mode)
    _checks.flag("return_indices", return_indices)
    arrays = [input]
    if return_indices:
        height, width = input.shape[-2:]
        places = jnp.arange(height * width).reshape(height, width)
        arrays.append(jnp.broadcast_to(places, input.shape))
    maxima: tuple[Array, ...] = _max_pool(windows, *arrays)
    return (maxima[0], maxima[1]) if return_indices else maxima[0]


def avg_pool2d(
    input: ArrayLike,
    kernel_size: IntPair,
    stride: IntPair | None = None,
    padding: IntPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    r"""Return the mean of each window of an image.

    $$y_{c,i,j} = \frac1D \sum_{k,l} x_{c,\; s i + k - p,\; s j + l - p}$$

    with $x = 0$ outside the image.

    Args:
        input: $x$, of shape (N, C, H, W) or (C, H, W).
        kernel_size: The window, an integer or (height, width), at least 1.
        stride: $s$, an integer or (vertical, horizontal), at least 1; by default the window's size.
        padding: $p$, an integer or (vertical, horizontal), at most half the window.
        ceil_mode: Whether one more window covers what the others leave over at the end, if it
            starts inside the image or before.
        count_include_pad: Whether $D$ counts the padding, or only what lies in the image.
        divisor_override: $D$, an integer other than 0; by default what the window counts.

    Returns:
        $y$, of shape (N, C, H', W') or (C, H', W').

    Raises:
        ValueError: If an argument is out of range, or `input` has another shape, is not floating
            point or too small for one window.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(16.0).reshape(1, 4, 4)
        >>> print(avg_pool2d(image, 2))
        [[[ 2.5  4.5]
          [10.5 12.5]]]

    Source: `torch.nn.functional.avg_pool2d`.
    """
    input = _checks.images(input)
    rows, columns = sliding_windows(input.shape[-2:], kernel_size, stride, padding, 1, ceil_mode)
    _checks.flag("count_include_pad", count_include_pad)
    if divisor_override is None:
        divisors = np.outer(_counted(rows, count_include_pad), _counted(columns, count_include_pad))
    else:
        divisors = np.full((1, 1), _checks.integer("divisor_override", divisor_override))
        if divisor_override == 0:
            raise ValueError("divisor_override: expected an integer other than 0, got 0")
    values = _checks.widen(input)
    sums: Array = _sum_pool(rows, columns, values)
    # Leading axes of length 1, because ranks are not promoted.
    divisors = np.expand_dims(divisors, tuple(range(input.ndim - 2)))
    return (sums / jnp.asarray(divisors, values.dtype)).astype(input.dtype)


def adaptive_avg_pool2d(input: ArrayLike, output_size: int | Sequence[int | None]) -> Array:
    r"""Return the mean of each of as many windows as are asked for.

    Window $i$ of $n$ over an axis of length $L$ is
    $[\lfloor i L / n \rfloor, \lceil (i + 1) L / n \rceil)$: windows may overlap.

    Args:
        input: An array of shape (N, C, H, W) or (C, H, W).
        output_size: How many windows, an integer or (vertical, horizontal), at least 0. None for
            an axis of a pair keeps its length.

    Returns:
        The means, of shape (N, C, *output_size) or (C, *output_size).

    Raises:
        ValueError: If `output_size` is something else, or `input` has another shape or is not
            floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(9.0).reshape(1, 3, 3)
        >>> print(adaptive_avg_pool2d(image, 2))
        [[[2. 3.]
          [5. 6.]]]

    Source: `torch.nn.functional.adaptive_avg_pool2d`.
    """
    input = _checks.images(input)
    if not isinstance(output_size, Sequence):
        output_size = _checks.pair("output_size", output_size, at_least=0)
    if len(output_size) != 2:
        raise ValueError(f"output_size: expected an integer or two of them, got {output_size}")
    height, width = (
        size if wanted is None else _checks.integer("output_size", wanted, at_least=0)
        for wanted, size in zip(output_size, input.shape[-2:], strict=True)
    )
    means = _adaptive_mean(_checks.widen(input), input.ndim - 2, height)
    return jnp.asarray(_adaptive_mean(means, input.ndim - 1, width), input.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _max_pool(windows: tuple[Windows, ...], *arrays: Array) -> tuple[Array, ...]:
    """Return the maxima of the first array, and the others where these are.

    The maximum of the rows' maxima is the window's, and the first of the first ones its first.
    """
    rows, columns = windows
    return _max_along(rows, -2, _max_along(columns, -1, arrays))


def _max_along(windows: Windows, axis: int, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the maxima of the first array along an axis, and the others where these are."""
    axis %= arrays[0].ndim
    positions = windows.positions()
    table = (positions >= 0) & (positions < windows.size)
    # Where there is nothing to mask, the masks are numbers instead of arrays in the program.
    inside = table[0] if table.all() else _on_axis(table, axis, arrays[0].ndim)
    taps = zip(*(windows.taps(values, axis) for values in arrays), strict=True)
    best = next(taps)
    best = (jnp.where(inside[0], best[0], -jnp.inf), *best[1:])
    found = inside[0]
    for tap, seen in zip(taps, inside[1:], strict=True):
        # The first position inside counts even at minus infinity; the last NaN stays.
        better = seen & (~found | (tap[0] > best[0]) | jnp.isnan(tap[0]))
        best = tuple(jnp.where(better, new, old) for new, old in zip(tap, best, strict=True))
        found = found | seen
    return best


def _on_axis(table: npt.NDArray[np.bool_], axis: int, ndim: int) -> npt.NDArray[np.bool_]:
    """Return the columns of a (count, kernel) table, each along one axis of `ndim`."""
    shape = [1] * ndim
    shape[axis] = len(table)
    return table.T.reshape(-1, *shape)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sum_pool(rows: Windows, columns: Windows, values: Array) -> Array:
    """Return the sum of each window."""
    leading = (1,) * (values.ndim - 2)
    padded = columns.pad(rows.pad(values, values.ndim - 2, 0), values.ndim - 1, 0)
    sums: Array = lax.reduce_window(
        padded,
        np.zeros((), values.dtype),
        lax.add,
        (*leading, rows.kernel, columns.kernel),
        (*leading, rows.stride, columns.stride),
        "VALID",
    )
    return sums


def _counted(windows: Windows, count_include_pad: bool) -> npt.NDArray[np.int64]:
    """Return how many positions of each window count towards its mean."""
    starts = windows.positions()[:, 0]
    ends = np.minimum(starts + windows.kernel, windows.size + windows.padding)
    if count_include_pad:
        return ends - starts
    return np.minimum(ends, windows.size) - np.maximum(starts, 0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _adaptive_mean(values: Array, axis: int, count: int) -> Array:
    """Return the means of `count` windows that together cover an axis."""
    size = values.shape[axis]
    window = np.arange(count)
    starts, ends = window * size // count, -(-(window + 1) * size // count)
    lengths = ends - starts
    positions = starts[:, None] + np.arange(np.max(lengths, initial=0))
    inside = positions < ends[:, None]
    # The windows become two axes, (count, longest), in the place of one.
    tail = (1,) * (values.ndim - axis - 1)
    seen = jnp.take(values, positions, axis, mode="clip")
    seen = jnp.where(inside.reshape(*(1,) * axis, *inside.shape, *tail), seen, 0)
    lengths = lengths.reshape(*(1,) * axis, count, *tail)
    return jnp.sum(seen, axis + 1) / jnp.asarray(lengths, values.dtype)
