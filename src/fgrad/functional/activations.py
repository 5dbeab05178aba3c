"""Activations, elementwise and along an axis."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from fgrad import _checks
from fgrad.types import Array, ArrayLike


def relu(input: ArrayLike, inplace: bool = False) -> Array:
    r"""Return $\max(0, x)$.

    Its derivative at 0 is 0.

    Args:
        input: $x$, of any shape.
        inplace: Must be False: JAX's arrays never change.

    Returns:
        An array of `input`'s shape and dtype.

    Raises:
        ValueError: If `input` is not floating point, or `inplace` is True.

    Example:
        >>> import jax.numpy as jnp
        >>> print(relu(jnp.array([-1.0, 0.0, 2.0])))
        [0. 0. 2.]

    Source: `torch.nn.functional.relu`.
    """
    _checks.not_in_place(inplace)
    input = _checks.floating("input", input)
    # NaN compares false, so that it passes through, with a derivative of 1 as in PyTorch.
    return jnp.where(input <= 0, 0, input)


def leaky_relu(
    input: ArrayLike, negative_slope: float | Array = 0.01, inplace: bool = False
) -> Array:
    r"""Return $x$ where it is positive and $\mathrm{negative\_slope} \cdot x$ elsewhere.

    Its derivative at 0 is `negative_slope`.

    Args:
        input: $x$, of any shape.
        negative_slope: Any number.
        inplace: Must be False: JAX's arrays never change.

    Returns:
        An array of `input`'s shape and dtype.

    Raises:
        ValueError: If `input` is not floating point, `negative_slope` is no number, or `inplace`
            is True.

    Example:
        >>> import jax.numpy as jnp
        >>> print(leaky_relu(jnp.array([-1.0, 0.0, 2.0])))
        [-0.01  0.    2.  ]

    Source: `torch.nn.functional.leaky_relu`.
    """
    _checks.not_in_place(inplace)
    input = _checks.floating("input", input)
    x = _checks.widen(input)
    slope = _checks.number(
        "negative_slope", negative_slope, "of any size", lambda value: True, x.dtype
    )
    # A choice of factors, and not of products: an infinite slope would reach the other's gradient.
    return (x * jnp.where(x > 0, 1, slope).astype(x.dtype)).astype(input.dtype)


def sigmoid(input: ArrayLike) -> Array:
    r"""Return $\sigma(x) = 1 / (1 + e^{-x})$.

    Args:
        input: $x$, of any shape.

    Returns:
        An array of `input`'s shape and dtype.

    Raises:
        ValueError: If `input` is not floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> print(sigmoid(jnp.array([0.0])))
        [0.5]

    Source: `torch.nn.functional.sigmoid`.
    """
    return lax.logistic(_checks.floating("input", input))


def tanh(input: ArrayLike) -> Array:
    r"""Return $\tanh x$.

    Args:
        input: $x$, of any shape.

    Returns:
        An array of `input`'s shape and dtype.

    Raises:
        ValueError: If `input` is not floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> print(tanh(jnp.array([0.0])))
        [0.]

    Source: `torch.nn.functional.tanh`.
    """
    return lax.tanh(_checks.floating("input", input))


def gelu(input: ArrayLike, approximate: str = "none") -> Array:
    r"""Return $x \Phi(x)$, where $\Phi$ is the normal distribution function.

    $$\Phi(x) = \tfrac12 \left(1 + \mathrm{erf} \frac{x}{\sqrt 2}\right) \approx
      \tfrac12 \left(1 + \tanh\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)$$

    Args:
        input: $x$, of any shape.
        approximate: `"none"` for the first form, `"tanh"` for the second.

    Returns:
        An array of `input`'s shape and dtype.

    Raises:
        ValueError: If `input` is not floating point, or `approximate` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> print(gelu(jnp.array([0.0, 1.0])))
        [0.        0.8413447]

    Source: `torch.nn.functional.gelu`.
    """
    input = _checks.floating("input", input)
    x = _checks.widen(input)
    if approximate == "none":
        curve = lax.erf(x * math.sqrt(0.5))
    elif approximate == "tanh":
        curve = jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    else:
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return (0.5 * x * (1 + curve)).astype(input.dtype)


def softmax(input: ArrayLike, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Array:
    r"""Return the exponentials along one axis over their sum.

    $$y_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$

    Args:
        input: $x$, of any shape.
        dim: The axis, possibly counted from the end. PyTorch has deprecated to guess one, so None
            is refused.
        dtype: What to convert `input` to first; by default nothing else.

    Returns:
        $y$, of `input`'s shape.

    Raises:
        ValueError: If `dim` is None or out of range, or `input` or `dtype` is not floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> print(softmax(jnp.array([1.0, 1.0]), dim=0))
        [0.5 0.5]

    Source: `torch.nn.functional.softmax`.
    """
    x, axis, out_dtype = _along(input, dim, dtype)
    return jax.nn.softmax(x, axis).astype(out_dtype).reshape(jnp.shape(input))


def log_softmax(
    input: ArrayLike, dim: int | None = None, *, dtype: DTypeLike | None = None
) -> Array:
    r"""Return the logarithm of `softmax`, without the overflow.

    $$y_i = x_i - \log \sum_j e^{x_j}$$

    Args:
        input: $x$, of any shape.
        dim: The axis, possibly counted from the end. PyTorch has deprecated to guess one, so None
            is refused.
        dtype: What to convert `input` to first; by default nothing else.

    Returns:
        $y$, of `input`'s shape.

    Raises:
        ValueError: If `dim` is None or out of range, or `input` or `dtype` is not floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> print(log_softmax(jnp.array([1000.0, 1000.0]), dim=0))
        [-0.6931472 -0.6931472]

    Source: `torch.nn.functional.log_softmax`.
    """
    x, axis, out_dtype = _along(input, dim, dtype)
    return jax.nn.log_softmax(x, axis).astype(out_dtype).reshape(jnp.shape(input))


def _along(
    input: ArrayLike, dim: int | None, dtype: DTypeLike | None
) -> tuple[Array, int, jnp.dtype]:
    """Return what to compute on, of at least one axis, the axis, and the dtype of the result."""
    values = _checks.array("input", input)
    if dtype is not None:
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"dtype: expected a floating-point type, got {jnp.dtype(dtype)}")
        values = values.astype(dtype)
    values = _checks.floating("input", values)
    if dim is None:
        raise ValueError("dim: expected a dimension, got None")
    axis = _checks.dimension("dim", dim, values.ndim)
    return jnp.atleast_1d(_checks.widen(values)), axis, values.dtype
