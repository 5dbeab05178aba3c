"""What an argument must be, said once: each check names it, what was expected and what came."""

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fgrad.types import Array, ArrayLike

IntPair: TypeAlias = int | Sequence[int]
"""One integer for both axes, or (height, width)."""

_HALF = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
_FLOATING = (*_HALF, jnp.dtype(jnp.float32), jnp.dtype(jnp.float64))


def array(name: str, value: ArrayLike) -> Array:
    """Return the argument as a JAX array."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise ValueError(f"{name}: expected an array, got {type(value).__name__}")
    return jnp.asarray(value)


def floating(
    name: str,
    value: ArrayLike,
    *,
    dtype: jnp.dtype | None = None,
    shape: tuple[int, ...] | None = None,
) -> Array:
    """Return the argument as a floating-point array; of `dtype` and `shape`, where given."""
    result = array(name, value)
    if result.dtype not in _FLOATING:
        expected = ", ".join(str(known) for known in _FLOATING)
        raise ValueError(f"{name}: expected one of {expected}, got {result.dtype}")
    if dtype is not None and result.dtype != dtype:
        raise ValueError(f"{name}: expected {dtype}, as input has, got {result.dtype}")
    if shape is not None and result.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {result.shape}")
    return result


def images(value: ArrayLike) -> Array:
    """Return `input` as an array of shape (N, C, H, W) or (C, H, W), only N possibly 0."""
    result = floating("input", value)
    if result.ndim not in (3, 4) or 0 in result.shape[-3:]:
        raise ValueError(
            "input: expected shape (N, C, H, W) or (C, H, W), only N possibly 0, got "
            f"{result.shape}"
        )
    return result


def broadcastable(name: str, value: ArrayLike, like: Array) -> Array:
    """Return the argument, of `like`'s dtype, stretched to its shape."""
    result = floating(name, value, dtype=like.dtype)
    trailing = like.shape[like.ndim - result.ndim :]
    if result.ndim > like.ndim or any(
        size not in (1, wanted) for size, wanted in zip(result.shape, trailing, strict=True)
    ):
        raise ValueError(
            f"{name}: expected a shape that broadcasts to input's, {like.shape}, got {result.shape}"
        )
    return jnp.broadcast_to(result, like.shape)


def integer(name: str, value: int, *, at_least: int | None = None) -> int:
    """Return the argument as an int, no less than `at_least`."""
    expected = "an integer" if at_least is None else f"an integer, at least {at_least}"
    try:
        # Python counts a bool as an integer; PyTorch does not.
        result = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        result = None
    if result is None or (at_least is not None and result < at_least):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return result


def pair(name: str, value: IntPair, *, at_least: int) -> tuple[int, int]:
    """Return the argument, one for both or two, as (height, width), each at least `at_least`."""
    if not isinstance(value, Sequence):
        both = integer(name, value, at_least=at_least)
        return both, both
    if len(value) not in (1, 2) or isinstance(value, str):
        raise ValueError(f"{name}: expected an integer or two of them, got {value!r}")
    height, width = (integer(name, value[axis], at_least=at_least) for axis in (0, -1))
    return height, width


def number(
    name: str,
    value: float | Array,
    expected: str,
    accepts: Callable[[float], bool],
    dtype: jnp.dtype,
) -> float | Array:
    """Return the argument as a float that `accepts` accepts; a traced one, unread, in `dtype`."""
    if isinstance(value, jax.core.Tracer) and value.ndim == 0 and value.dtype != bool:
        return value.astype(dtype)
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not accepts(value):
        raise ValueError(f"{name}: expected a number {expected}, got {value!r}")
    return float(value)


def is_zero(value: float | Array) -> bool:
    """Return whether a `number` is known to be 0."""
    return not isinstance(value, jax.Array) and value == 0


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


def size(value: int | tuple[int, ...]) -> int:
    """Return how many numbers an array of the shape holds."""
    return math.prod(shape(value))


def finite(name: str, value: float | jax.Array, *, dtype: np.dtype[Any] | None = None) -> float:
    """Return the argument, known while tracing, as a float that is finite, in `dtype` if given."""
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
    """Return the argument as `finite` does, if it is 0 or more."""
    result = finite(name, value, dtype=dtype)
    if result < 0:
        raise ValueError(f"{name}: expected 0 or more, got {value}")
    return result


def interval(
    low: float, high: float, names: tuple[str, str], dtype: np.dtype[Any]
) -> tuple[float, float]:
    """Return the ends of a uniform distribution, in order and no farther apart than `dtype` goes.

    The arguments are called `names`.
    """
    low, high = finite(names[0], low, dtype=dtype), finite(names[1], high, dtype=dtype)
    if not low <= high:
        raise ValueError(f"{names[0]}: expected at most {names[1]}, {high}, got {low}")
    if not high - low <= float(np.finfo(dtype).max):
        raise ValueError(
            f"{names[1]}: expected {names[1]} - {names[0]} within {dtype}, got {low} to {high}"
        )
    return low, high


def mean_and_std(mean: float, std: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the parameters of a normal distribution whose numbers are all finite in `dtype`."""
    mean, std = finite("mean", mean, dtype=dtype), not_negative("std", std, dtype=dtype)
    # From 53 bits no number is 9 deviations away: the last one is sqrt(106 log 2), 8.6.
    if not abs(mean) + 9 * std <= float(np.finfo(dtype).max):
        raise ValueError(f"std: expected mean + 9 std within {dtype}, got {mean} and {std}")
    return mean, std


def flag(name: str, value: bool) -> bool:
    """Return the argument, a bool and nothing that only counts as one."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False, got {value!r}")
    return value


def dimension(name: str, value: int, ndim: int) -> int:
    """Return the argument, an axis possibly counted from the end, as one counted from the start."""
    axes = max(ndim, 1)  # a scalar has one axis to speak of
    index = integer(name, value)
    if not -axes <= index < axes:
        raise ValueError(
            f"{name}: expected a dimension from {-axes} to {axes - 1}, as input has {ndim}, got "
            f"{index}"
        )
    return index % axes


def not_in_place(inplace: bool) -> None:
    """Refuse to change `input`."""
    if inplace:
        raise ValueError(f"inplace: expected False, as JAX's arrays never change, got {inplace!r}")


def widen(value: Array) -> Array:
    """Return half precision as float32, to compute in and round once at the end."""
    return value.astype(jnp.float32) if value.dtype in _HALF else value
