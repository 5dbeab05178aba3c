"""What random numbers and optimizers are asked for, checked: each refusal names its argument."""

import math
import operator
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


def shape(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the argument as a tuple of sizes; an int is the size of one axis."""
    sizes = value if isinstance(value, Iterable) else (value,)
    try:
        result = tuple(integer("shape", size) for size in sizes)
    except ValueError:
        raise ValueError(f"shape: expected an integer or a tuple of them, got {value!r}") from None
    if any(size < 0 for size in result):
        raise ValueError(f"shape: expected sizes of 0 or more, got {result}")
    return result


def integer(name: str, value: int) -> int:
    """Return the argument as an int: no float, however whole, and no bool, as PyTorch has it."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"{name}: expected an integer, got {value!r}")


def size(value: int | tuple[int, ...]) -> int:
    """Return how many numbers an array of the shape holds."""
    return math.prod(shape(value))


def number(name: str, value: float | jax.Array, *, dtype: np.dtype[Any] | None = None) -> float:
    """Return the argument as a float, finite, in `dtype` where given."""
    if np.ndim(value):
        raise ValueError(f"{name}: expected a scalar, got shape {np.shape(value)}")
    limit = float(np.finfo(dtype or np.float64).max)
    try:
        result = math.nan if isinstance(value, str) else float(value)
    except (TypeError, OverflowError):  # a value that JAX traces is a TypeError as well
        result = math.nan
    if not abs(result) <= limit:
        raise ValueError(f"{name}: expected a finite {dtype or 'number'}, got {value}")
    return result


def not_negative(
    name: str, value: float | jax.Array, *, dtype: np.dtype[Any] | None = None
) -> float:
    """Return the argument as `number` does, if it is 0 or more."""
    result = number(name, value, dtype=dtype)
    if result < 0:
        raise ValueError(f"{name}: expected 0 or more, got {value}")
    return result


def interval(
    low: float, high: float, names: tuple[str, str], dtype: np.dtype[Any]
) -> tuple[float, float]:
    """Return the ends of a uniform distribution, in order and no farther apart than `dtype` goes.

    The arguments are called `names`.
    """
    low, high = number(names[0], low, dtype=dtype), number(names[1], high, dtype=dtype)
    if not low <= high:
        raise ValueError(f"{names[0]}: expected at most {names[1]}, {high}, got {low}")
    if not high - low <= float(np.finfo(dtype).max):
        raise ValueError(
            f"{names[1]}: expected {names[1]} - {names[0]} within {dtype}, got {low} to {high}"
        )
    return low, high


def mean_and_std(mean: float, std: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the parameters of a normal distribution whose numbers are all finite in `dtype`."""
    mean, std = number("mean", mean, dtype=dtype), not_negative("std", std, dtype=dtype)
    # From 53 bits no number is 9 deviations away: the last one is sqrt(106 log 2), 8.6.
    if not abs(mean) + 9 * std <= float(np.finfo(dtype).max):
        raise ValueError(f"std: expected mean + 9 std within {dtype}, got {mean} and {std}")
    return mean, std
