"""The layers that are neither convolution nor pooling: linear, flatten and dropout."""

import math

import jax
import jax.numpy as jnp

from fgrad import _checks
from fgrad.types import Array, ArrayLike


def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    r"""Apply a linear map to the last axis.

    $$y = x A^\top + b$$

    Args:
        input: $x$, of shape (..., in_features).
        weight: $A$, of shape (out_features, in_features), or (in_features,) for one output without
            an axis of its own.
        bias: $b$, of shape (out_features,) or (); none with a `weight` of one axis.

    Returns:
        $y$, of shape (..., out_features), or (...) with a `weight` of one axis.

    Raises:
        ValueError: If a shape is another, or the dtypes are not one floating-point type.

    Example:
        >>> import jax.numpy as jnp
        >>> print(linear(jnp.array([1.0, 2.0]), jnp.array([[3.0, 4.0]]), jnp.array([0.5])))
        [11.5]

    Source: `torch.nn.functional.linear`.
    """
    input = _checks.floating("input", input)
    weight = _checks.floating("weight", weight, dtype=input.dtype)
    if input.ndim < 1:
        raise ValueError(f"input: expected shape (..., in_features), got {input.shape}")
    if weight.ndim not in (1, 2) or weight.shape[-1] != input.shape[-1]:
        raise ValueError(
            f"weight: expected shape (out_features, {input.shape[-1]}) or ({input.shape[-1]},), "
            f"got {weight.shape}"
        )
    if weight.ndim == 1 and bias is not None:
        raise ValueError(
            f"bias: expected None with a weight of one axis, got shape {jnp.shape(bias)}"
        )
    # The outputs come first, the batch last: its products, those of the gradients included, are
    # the ones that a CPU does fastest where the weight is large.
    product = jnp.tensordot(weight, input, axes=(-1, -1))
    if weight.ndim == 1:
        return product
    if bias is not None:
        bias = _checks.floating("bias", bias, dtype=input.dtype)
        if bias.shape not in ((), weight.shape[:1]):
            raise ValueError(f"bias: expected shape {weight.shape[:1]} or (), got {bias.shape}")
        # Its gradient is a sum over the batch: in float32 for the half types.
        column = jnp.broadcast_to(_checks.widen(bias), weight.shape[:1])
        column = column.reshape(-1, *(1,) * (input.ndim - 1))
        product = (_checks.widen(product) + column).astype(input.dtype)
    return jnp.moveaxis(product, 0, -1)


def flatten(input: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> Array:
    """Join the axes from `start_dim` to `end_dim` into one.

    Args:
        input: An array of any shape and dtype; a scalar becomes a vector of one.
        start_dim: The first axis to join, possibly counted from the end.
        end_dim: The last one, included.

    Returns:
        The same elements, in the same order.

    Raises:
        ValueError: If a dimension is out of range, or the first one comes after the last.

    Example:
        >>> import jax.numpy as jnp
        >>> print(flatten(jnp.zeros((2, 3, 4, 5)), 1).shape)
        (2, 60)

    Source: `torch.flatten`.
    """
    input = _checks.array("input", input)
    start = _checks.dimension("start_dim", start_dim, input.ndim)
    end = _checks.dimension("end_dim", end_dim, input.ndim)
    if start > end:
        raise ValueError(f"start_dim: expected at most end_dim, {end_dim}, got {start_dim}")
    joined = math.prod(input.shape[start : end + 1])
    return input.reshape(*input.shape[:start], joined, *input.shape[end + 1 :])


def dropout(
    input: ArrayLike,
    p: float | Array = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: Array | None,
) -> Array:
    r"""Zero each element with probability `p`, and scale the others up to keep the mean.

    $$y = \frac{x m}{1 - p}, \qquad m \sim \mathrm{Bernoulli}(1 - p)$$

    The randomness is `key`'s, not PyTorch's; the distribution is the same.

    Args:
        input: $x$, of any shape.
        p: The probability of a zero, from 0 to 1.
        training: Whether to drop anything; if not, $y = x$.
        inplace: Must be False: JAX's arrays never change.
        key: A `jax.random.key`, to be used once; None will do where `training` is False.

    Returns:
        $y$, of `input`'s shape and dtype. An infinite element that is dropped becomes NaN.

    Raises:
        ValueError: If `p` is out of range, `training` is no bool, `inplace` is True, `input` is not
            floating point, or `key` is None in training.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> print(dropout(jnp.ones(6), key=jax.random.key(0)))
        [0. 0. 2. 2. 0. 2.]

    Source: `torch.nn.functional.dropout`.
    """
    _checks.not_in_place(inplace)
    input = _checks.floating("input", input)
    dtype = _checks.widen(input).dtype
    p = _checks.number("p", p, "from 0 to 1", lambda value: 0 <= value <= 1, dtype)
    if not _checks.flag("training", training):
        return input
    if key is None:
        raise ValueError("key: expected a jax.random.key in training, got None")
    # A product, and not a choice, so that an infinity times zero is NaN, as in PyTorch.
    some = jnp.asarray(p < 1)
    scale = jnp.where(some, 1 / jnp.where(some, 1 - p, 1), 0)
    kept = jax.random.bernoulli(key, 1 - p, input.shape)
    return input * jnp.where(kept, scale, 0).astype(input.dtype)
