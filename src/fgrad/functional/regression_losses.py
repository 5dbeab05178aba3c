"""Losses of one number against another: absolute, squared, and the two in between."""

import jax.numpy as jnp
from jax import lax

from fgrad import _checks
from fgrad.functional._reduction import check_reduction, reduced
from fgrad.types import Array, ArrayLike


def l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: ArrayLike | None = None,
) -> Array:
    r"""Return the absolute error.

    $$\ell_i = w_i \lvert x_i - y_i \rvert$$

    Its derivative at 0 is 0. The mean is $\sum_i \ell_i / \sum_i w_i$.

    Args:
        input: $x$, of any shape.
        target: $y$, of the same shape.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"mean"` or `"sum"`.
        weight: $w$, of the same shape; by default all ones.

    Returns:
        $\ell$, of `input`'s shape; or its mean or sum, a scalar. The mean of nothing is NaN.

    Raises:
        ValueError: If the shapes differ, the dtypes are not one floating-point type, or `reduction`
            is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> print(l1_loss(jnp.array([1.0, 4.0]), jnp.array([0.0, 1.0])))
        2.0

    Source: `torch.nn.functional.l1_loss`.
    """
    check_reduction(reduction, size_average=size_average, reduce=reduce)
    input, error, weight = _operands(input, target, weight)
    return _weighted(_absolute(error), weight, reduction).astype(input.dtype)


def mse_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: ArrayLike | None = None,
) -> Array:
    r"""Return the squared error.

    $$\ell_i = w_i (x_i - y_i)^2$$

    The mean is $\sum_i \ell_i / \sum_i w_i$.

    Args:
        input: $x$, of any shape.
        target: $y$, of the same shape.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"mean"` or `"sum"`.
        weight: $w$, of the same shape; by default all ones.

    Returns:
        $\ell$, of `input`'s shape; or its mean or sum, a scalar. The mean of nothing is NaN.

    Raises:
        ValueError: If the shapes differ, the dtypes are not one floating-point type, or `reduction`
            is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> print(mse_loss(jnp.array([1.0, 4.0]), jnp.array([0.0, 1.0])))
        5.0

    Source: `torch.nn.functional.mse_loss`.
    """
    check_reduction(reduction, size_average=size_average, reduce=reduce)
    input, error, weight = _operands(input, target, weight)
    return _weighted(jnp.square(error), weight, reduction).astype(input.dtype)


def smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    beta: float | Array = 1.0,
) -> Array:
    r"""Return the absolute error, made smooth around 0.

    $$\ell_i = \begin{cases}
      (x_i - y_i)^2 / 2\beta & \text{if } \lvert x_i - y_i \rvert < \beta \\
      \lvert x_i - y_i \rvert - \beta / 2 & \text{otherwise} \end{cases}$$

    Args:
        input: $x$, of any shape.
        target: $y$, of the same shape.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"mean"` or `"sum"`.
        beta: Where the square ends, at least 0; at 0 this is `l1_loss`.

    Returns:
        $\ell$, of `input`'s shape; or its mean or sum, a scalar. The mean of nothing is NaN.

    Raises:
        ValueError: If the shapes differ, the dtypes are not one floating-point type, `beta` is
            negative, or `reduction` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> print(smooth_l1_loss(jnp.array([1.0, 4.0]), jnp.array([0.5, 1.0]), reduction="none"))
        [0.125 2.5  ]

    Source: `torch.nn.functional.smooth_l1_loss`.
    """
    check_reduction(reduction, size_average=size_average, reduce=reduce)
    input, error, _ = _operands(input, target, None)
    beta = _checks.number("beta", beta, "of at least 0", lambda value: value >= 0, error.dtype)
    if _checks.is_zero(beta):
        return reduced(_absolute(error), reduction).astype(input.dtype)
    far, small, large = _split(error, beta)
    # A traced beta may be 0 as well, where every error is far.
    width = jnp.where(far, 1, 2 * beta).astype(error.dtype)
    losses = jnp.where(far, large - beta / 2, jnp.square(small) / width)
    return reduced(losses, reduction).astype(input.dtype)


def huber_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
    delta: float | Array = 1.0,
    weight: ArrayLike | None = None,
) -> Array:
    r"""Return half the squared error, continued by a straight line.

    $$\ell_i = w_i \begin{cases}
      (x_i - y_i)^2 / 2 & \text{if } \lvert x_i - y_i \rvert < \delta \\
      \delta (\lvert x_i - y_i \rvert - \delta / 2) & \text{otherwise} \end{cases}$$

    The mean is over the number of elements, weighted or not.

    Args:
        input: $x$, of any shape.
        target: $y$, of the same shape.
        reduction: `"none"`, `"mean"` or `"sum"`.
        delta: Where the line begins, above 0.
        weight: $w$, of the same shape; by default all ones.

    Returns:
        $\ell$, of `input`'s shape; or its mean or sum, a scalar. The mean of nothing is NaN.

    Raises:
        ValueError: If the shapes differ, the dtypes are not one floating-point type, `delta` is not
            positive, or `reduction` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> print(huber_loss(jnp.array([1.0, 4.0]), jnp.array([0.0, 1.0]), delta=2.0))
        2.25

    Source: `torch.nn.functional.huber_loss`.
    """
    check_reduction(reduction)
    input, error, weight = _operands(input, target, weight)
    delta = _checks.number("delta", delta, "above 0", lambda value: value > 0, error.dtype)
    far, small, large = _split(error, delta)
    losses = jnp.where(far, delta * (large - delta / 2), 0.5 * jnp.square(small))
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction).astype(input.dtype)


def _operands(
    input: ArrayLike, target: ArrayLike, weight: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Return the input, the error, and the weight, the last two ready to compute with."""
    input = _checks.floating("input", input)
    target = _checks.floating("target", target, dtype=input.dtype, shape=input.shape)
    error = _checks.widen(input) - _checks.widen(target)
    if weight is None:
        return input, error, None
    weight = _checks.floating("weight", weight, dtype=input.dtype, shape=input.shape)
    return input, error, _checks.widen(weight)


def _absolute(error: Array) -> Array:
    """Return the absolute value, with PyTorch's derivative of 0 at 0 and at NaN."""
    signed = jnp.where(error > 0, error, -error)
    return jnp.where(jnp.abs(error) > 0, signed, lax.stop_gradient(error))


def _split(error: Array, edge: float | Array) -> tuple[Array, Array, Array]:
    """Return where an error reaches the edge, the others as they are, and these in size.

    Each is 0 where it is not used: else its infinities would reach the other's gradient.
    """
    # Not by the absolute value, which XLA takes to be at least 0 even where it is NaN.
    far = (error >= edge) | (error <= -edge)
    return far, jnp.where(far, 0, error), jnp.where(far, _absolute(error), 0)


def _weighted(losses: Array, weight: Array | None, reduction: str) -> Array:
    """Return the losses by weight, reduced; their mean is over the sum of the weights."""
    if weight is None:
        return reduced(losses, reduction)
    return reduced(losses * weight, reduction, total=jnp.sum(weight))
