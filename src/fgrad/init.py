"""PyTorch's default initialisation of its layers."""

import math

import jax
import jax.numpy as jnp

from fgrad.random import Generator
from fgrad.types import Array, Rng


def linear(rng: Rng, in_features: int, out_features: int, *, bias: bool = True) -> dict[str, Array]:
    r"""Return the parameters of a new `nn.Linear(in_features, out_features)`.

    Both are uniform in $\pm 1/\sqrt{\mathrm{in\_features}}$, the weight drawn first.

    Args:
        rng: A `Generator` for PyTorch's bits, or a `jax.random.key` for the same distribution.
        in_features: Size of an input, at least 1.
        out_features: Size of an output, at least 1.
        bias: Whether the layer has one.

    Returns:
        `{"weight": (out_features, in_features)}`, and `"bias": (out_features,)` with it; float32.

    Raises:
        ValueError: If a size is below 1.

    Example:
        >>> from fgrad.random import Generator
        >>> print(linear(Generator(0), 1, 1))
        {'weight': Array([[-0.00748682]], dtype=float32), 'bias': Array([0.5364436], dtype=float32)}

    Source: `torch.nn.Linear.reset_parameters`.
    """
    for name, size in (("in_features", in_features), ("out_features", out_features)):
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    # PyTorch's own order of operations, for its last bit.
    gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))
    weight_bound = math.sqrt(3.0) * (gain / math.sqrt(in_features))
    weight_rng, bias_rng = (rng, rng) if isinstance(rng, Generator) else jax.random.split(rng)
    params = {"weight": uniform(weight_rng, (out_features, in_features), weight_bound)}
    if bias:
        params["bias"] = uniform(bias_rng, (out_features,), 1 / math.sqrt(in_features))
    return params


def uniform(rng: Rng, shape: tuple[int, ...], bound: float) -> Array:
    """Return float32 numbers uniform in [-bound, bound).

    Args:
        rng: A `Generator`, which the call advances, or a `jax.random.key`.
        shape: The shape of the result.
        bound: The upper end, and minus the lower one.

    Returns:
        An array of `shape`.

    Example:
        >>> from fgrad.random import Generator
        >>> print(uniform(Generator(0), (2,), 1.0))
        [-0.00748682  0.5364436 ]

    Source: `torch.nn.init.uniform_`.
    """
    if isinstance(rng, Generator):
        return jnp.asarray(rng.uniform(shape, -bound, bound))
    return jax.random.uniform(rng, shape, jnp.float32, -bound, bound)
