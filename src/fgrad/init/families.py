"""The families of `nn.init`, from a generator or a key."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fgrad import _checks
from fgrad.random import Generator, Rng
from fgrad.types import Array


def uniform(
    rng: Rng,
    shape: int | tuple[int, ...],
    a: float = 0.0,
    b: float = 1.0,
    *,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Return numbers uniform in [a, b).

    Args:
        rng: A `Generator`, or a `jax.random.key`.
        shape: The shape of the result, or the size of its one axis.
        a: The lower end.
        b: The upper end.
        dtype: float32 or float64.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: If `rng` is neither, a size is negative, `a` is above `b`, `a`, `b` or `b - a`
            is not finite in `dtype`, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(uniform(Generator(0), (2,), -1.0, 1.0))
        [-0.00748682  0.5364436 ]

    Source: `torch.nn.init.uniform_`.
    """
    shape = check_draw(rng, shape, dtype)
    a, b = _checks.interval(a, b, ("a", "b"), np.dtype(dtype))
    if isinstance(rng, Generator):
        return jnp.asarray(rng.uniform(shape, a, b, dtype=dtype))
    return jax.random.uniform(rng, shape, np.dtype(dtype), a, b)


def normal(
    rng: Rng,
    shape: int | tuple[int, ...],
    mean: float = 0.0,
    std: float = 1.0,
    *,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Return numbers of a normal distribution.

    Args:
        rng: A `Generator`, or a `jax.random.key`.
        shape: The shape of the result, or the size of its one axis.
        mean: Its mean.
        std: Its standard deviation.
        dtype: float32 or float64.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: If `rng` is neither, a size is negative, `std` is negative, `mean` plus or
            minus 9 `std` is not finite in `dtype`, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(normal(Generator(0), (2,), 10.0, 0.1))
        [10.154099  9.970657]

    Source: `torch.nn.init.normal_`.
    """
    shape = check_draw(rng, shape, dtype)
    mean, std = _checks.mean_and_std(mean, std, np.dtype(dtype))
    if isinstance(rng, Generator):
        return jnp.asarray(rng.normal(shape, mean, std, dtype=dtype))
    return jax.random.normal(rng, shape, np.dtype(dtype)) * std + mean


def xavier_uniform(
    rng: Rng, shape: tuple[int, ...], gain: float = 1.0, *, dtype: npt.DTypeLike = np.float32
) -> Array:
    r"""Return a weight by Glorot and Bengio's rule, uniform.

    $$U(-a, a), \qquad
      a = \mathrm{gain} \sqrt{\frac{6}{\mathrm{fan\_in} + \mathrm{fan\_out}}}$$

    Args:
        rng: A `Generator`, or a `jax.random.key`.
        shape: The weight's shape, (out, in, ...); what follows multiplies both fans.
        gain: From `calculate_gain`.
        dtype: float32 or float64.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: If `rng` is neither, `shape` has fewer than two axes or a negative size, `gain`
            is negative or not finite, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(xavier_uniform(Generator(0), (1, 2)))
        [[-0.01058796  0.7586458 ]]

    Source: `torch.nn.init.xavier_uniform_`.
    """
    bound = math.sqrt(3.0) * _xavier_std(shape, gain)
    return uniform(rng, shape, -bound, bound, dtype=dtype)


def xavier_normal(
    rng: Rng, shape: tuple[int, ...], gain: float = 1.0, *, dtype: npt.DTypeLike = np.float32
) -> Array:
    r"""Return a weight by Glorot and Bengio's rule, normal.

    $$N(0, \sigma^2), \qquad
      \sigma = \mathrm{gain} \sqrt{\frac{2}{\mathrm{fan\_in} + \mathrm{fan\_out}}}$$

    Args:
        rng: A `Generator`, or a `jax.random.key`.
        shape: The weight's shape, (out, in, ...); what follows multiplies both fans.
        gain: From `calculate_gain`.
        dtype: float32 or float64.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: If `rng` is neither, `shape` has fewer than two axes or a negative size, `gain`
            is negative or not finite, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(xavier_normal(Generator(0), (1, 2)))
        [[ 1.258218  -0.2395837]]

    Source: `torch.nn.init.xavier_normal_`.
    """
    return normal(rng, shape, 0.0, _xavier_std(shape, gain), dtype=dtype)


def kaiming_uniform(
    rng: Rng,
    shape: tuple[int, ...],
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    r"""Return a weight by He et al.'s rule, uniform.

    $$U(-b, b), \qquad b = \mathrm{gain} \sqrt{\frac{3}{\mathrm{fan}}}$$

    Args:
        rng: A `Generator`, or a `jax.random.key`.
        shape: The weight's shape, (out, in, ...); what follows multiplies both fans.
        a: The negative slope, for `"leaky_relu"`.
        mode: `"fan_in"` or `"fan_out"`.
        nonlinearity: What `calculate_gain` takes.
        dtype: float32 or float64.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: If `rng` is neither, `shape` has fewer than two axes or a negative size, `a` is
            not finite, `mode` or `nonlinearity` is unknown, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(kaiming_uniform(Generator(0), (1, 2), nonlinearity="relu"))
        [[-0.01296755  0.92914754]]

    Source: `torch.nn.init.kaiming_uniform_`.
    """
    bound = math.sqrt(3.0) * _kaiming_std(shape, a, mode, nonlinearity)
    return uniform(rng, shape, -bound, bound, dtype=dtype)


def kaiming_normal(
    rng: Rng,
    shape: tuple[int, ...],
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    r"""Return a weight by He et al.'s rule, normal.

    $$N(0, \sigma^2), \qquad \sigma = \frac{\mathrm{gain}}{\sqrt{\mathrm{fan}}}$$

    Args:
        rng: A `Generator`, or a `jax.random.key`.
        shape: The weight's shape, (out, in, ...); what follows multiplies both fans.
        a: The negative slope, for `"leaky_relu"`.
        mode: `"fan_in"` or `"fan_out"`.
        nonlinearity: What `calculate_gain` takes.
        dtype: float32 or float64.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: If `rng` is neither, `shape` has fewer than two axes or a negative size, `a` is
            not finite, `mode` or `nonlinearity` is unknown, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(kaiming_normal(Generator(0), (1, 2), nonlinearity="relu"))
        [[ 1.5409961 -0.2934289]]

    Source: `torch.nn.init.kaiming_normal_`.
    """
    return normal(rng, shape, 0.0, _kaiming_std(shape, a, mode, nonlinearity), dtype=dtype)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""Return the gain that keeps a signal's size through a nonlinearity.

    1 for a linear map and for sigmoid, $5/3$ for tanh, $\sqrt 2$ for relu, $3/4$ for selu, and
    $\sqrt{2 / (1 + \mathrm{param}^2)}$ for leaky_relu.

    Args:
        nonlinearity: `"linear"`, a convolution's name such as `"conv2d"` or `"conv_transpose2d"`,
            `"sigmoid"`, `"tanh"`, `"relu"`, `"leaky_relu"` or `"selu"`.
        param: The negative slope of `"leaky_relu"`; None is 0.01.

    Returns:
        The gain.

    Raises:
        ValueError: If `nonlinearity` is unknown, or `param` not finite.

    Example:
        >>> calculate_gain("leaky_relu", 1.0)
        1.0

    Source: `torch.nn.init.calculate_gain`.
    """
    slope = 0.01 if param is None else _checks.finite("param", param)
    gains = {
        "sigmoid": 1.0,
        "tanh": 5.0 / 3,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1 + slope**2)),
        "selu": 3.0 / 4,
        "linear": 1.0,
    }
    gains |= {f"conv{kind}{n}d": 1.0 for kind in ("", "_transpose") for n in (1, 2, 3)}
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity: expected one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fans(shape: tuple[int, ...]) -> dict[str, int]:
    shape = _checks.shape(shape)
    if len(shape) < 2:
        raise ValueError(f"shape: expected two axes or more, got {shape}")
    field = math.prod(shape[2:])
    # An empty weight has no numbers to scale.
    return {"fan_in": max(1, shape[1] * field), "fan_out": max(1, shape[0] * field)}


def _xavier_std(shape: tuple[int, ...], gain: float) -> float:
    return _checks.not_negative("gain", gain) * math.sqrt(2.0 / sum(_fans(shape).values()))


def _kaiming_std(shape: tuple[int, ...], a: float, mode: str, nonlinearity: str) -> float:
    fans = _fans(shape)
    if mode not in fans:
        raise ValueError(f"mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, _checks.finite("a", a)) / math.sqrt(fans[mode])


def check_draw(rng: Rng, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> tuple[int, ...]:
    """Return the shape as a tuple, or refuse before anything is drawn."""
    if not isinstance(rng, Generator) and not _is_key(rng):
        came = jax.typeof(rng) if isinstance(rng, jax.Array) else repr(rng)
        raise ValueError(f"rng: expected a Generator or a jax.random.key, got {came}")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
    if np.dtype(dtype) == np.float64 and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ValueError("dtype: expected jax_enable_x64 to be set for float64, got it unset")
    return _checks.shape(shape)


def _is_key(rng: object) -> bool:
    """Tell a key, or the two words that older programs have for one."""
    if not isinstance(rng, jax.Array):
        return False
    if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
        return rng.ndim == 0
    return rng.dtype == np.uint32 and rng.ndim == 1
