"""The parabola of the lesson on backpropagation: y = w1 x^2 + w2 x + b."""

import jax.numpy as jnp

import fgrad.init
from fgrad.random import Rng
from fgrad.types import Array, ArrayLike, Params


def init(rng: Rng) -> dict[str, Array]:
    """Return the parameters of a new parabola.

    They are drawn as for `nn.Linear(2, 1)`, which a parabola is, of the features x^2 and x. (The
    note starts from 1, 1, 1 instead.)

    Args:
        rng: A `fgrad.random.Generator` for PyTorch's bits, or a `jax.random.key`.

    Returns:
        `{"w1": (), "w2": (), "b": ()}`, float32.

    Example:
        >>> from fgrad.random import Generator
        >>> print({name: f"{value:.4f}" for name, value in init(Generator(0)).items()})
        {'w1': '-0.0053', 'w2': '0.3793', 'b': '-0.5820'}
    """
    line = fgrad.init.linear(rng, 2, 1)
    return {"w1": line["weight"][0, 0], "w2": line["weight"][0, 1], "b": line["bias"][0]}


def apply(params: Params, x: ArrayLike) -> Array:
    r"""Return $y = w_1 x^2 + w_2 x + b$.

    `x` is squared in its own precision and rounded to the parameters' after that, as PyTorch does
    with a Python number.

    Args:
        params: `{"w1": (), "w2": (), "b": ()}`.
        x: The inputs, of any shape.

    Returns:
        The outputs, of `x`'s shape, in the parameters' dtype.

    Raises:
        ValueError: If a parameter is not a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.float32(1)
        >>> print(apply({"w1": one, "w2": one, "b": one}, jnp.float32(4)))
        21.0
    """
    w1, w2, b = (jnp.asarray(params[name]) for name in ("w1", "w2", "b"))
    for name, value in (("w1", w1), ("w2", w2), ("b", b)):
        if value.shape != ():
            raise ValueError(f"params[{name!r}]: expected a scalar, got shape {value.shape}")
    x = jnp.asarray(x)
    return w1 * (x * x).astype(w1.dtype) + w2 * x.astype(w2.dtype) + b
