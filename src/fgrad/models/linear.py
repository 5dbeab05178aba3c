"""The straight line, PyTorch's `nn.Linear(1, 1)`: h(x) = w0 + w1 x, or y = w x without a bias."""

import jax.numpy as jnp

import fgrad.init
from fgrad.random import Rng
from fgrad.types import Array, ArrayLike, Params


def init(rng: Rng, *, bias: bool = True) -> dict[str, Array]:
    """Return the parameters of a new line.

    Args:
        rng: A `fgrad.random.Generator` for PyTorch's bits, or a `jax.random.key`.
        bias: Whether the line has an intercept.

    Returns:
        `{"weight": (1, 1)}`, and `"bias": (1,)` with an intercept; float32.

    Example:
        >>> from fgrad.random import Generator
        >>> print(init(Generator(0), bias=False))
        {'weight': Array([[-0.00748682]], dtype=float32)}

    Source: `torch.nn.Linear`; the lesson on linear regression.
    """
    return fgrad.init.linear(rng, 1, 1, bias=bias)


def apply(params: Params, x: ArrayLike) -> Array:
    r"""Return $y = w x + b$, or $y = w x$ where `params` has no bias.

    Args:
        params: `{"weight": (1, 1)}`, with or without `"bias": (1,)`.
        x: The inputs, of shape (..., 1).

    Returns:
        The outputs, of shape (..., 1), in the parameters' dtype.

    Raises:
        ValueError: If a shape is another.

    Example:
        >>> import jax.numpy as jnp
        >>> apply({"weight": jnp.ones((1, 1))}, jnp.array([[4.0]]))
        Array([[4.]], dtype=float32)

    Source: `torch.nn.functional.linear`; the lesson on backpropagation.
    """
    weight = jnp.asarray(params["weight"])
    x = jnp.asarray(x)
    if weight.shape != (1, 1):
        raise ValueError(f"params['weight']: expected shape (1, 1), got {weight.shape}")
    if x.shape[-1:] != (1,):
        raise ValueError(f"x: expected shape (..., 1), got {x.shape}")
    y = x.astype(weight.dtype) * weight[0, 0]
    if "bias" not in params:
        return y
    bias = jnp.asarray(params["bias"])
    if bias.shape != (1,):
        raise ValueError(f"params['bias']: expected shape (1,), got {bias.shape}")
    return y + bias[0]
