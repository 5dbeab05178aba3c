"""The multilayer perceptron: linear layers with a relu between."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
import numpy.typing as npt

from fgrad import functional as F
from fgrad.models import layers
from fgrad.random import Rng
from fgrad.types import Array, ArrayLike, Params


def init(
    rng: Rng, sizes: Sequence[int], *, dtype: npt.DTypeLike = np.float32
) -> dict[str, dict[str, Array]]:
    """Return the parameters of a new network.

    Args:
        rng: A `fgrad.random.Generator` for PyTorch's bits, or a `jax.random.key`.
        sizes: The size of an input, of each hidden layer and of an output.
        dtype: float32 or float64.

    Returns:
        `{"fc1": {"weight": (sizes[1], sizes[0]), "bias": (sizes[1],)}, "fc2": ...}`.

    Raises:
        ValueError: If there are fewer than two sizes, one is below 1, or `dtype` is another or not
            enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> params = init(Generator(0), [784, 100, 10])
        >>> {name: layer["weight"].shape for name, layer in params.items()}
        {'fc1': (100, 784), 'fc2': (10, 100)}

    Source: `torch.nn.Linear`.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes: expected at least two, got {list(sizes)}")
    return layers.init(rng, _shapes(sizes), dtype=dtype)


def apply(params: Params, x: ArrayLike) -> Array:
    """Return the outputs, without a relu after the last layer.

    Args:
        params: As from `init`.
        x: Inputs of shape (N, sizes[0]), or one of (sizes[0],), in the parameters' dtype.

    Returns:
        The outputs, of shape (N, sizes[-1]) or (sizes[-1],).

    Raises:
        ValueError: If a shape or a dtype is another.

    Example:
        >>> from fgrad.random import Generator
        >>> rng = Generator(0)
        >>> print(apply(init(rng, [3, 4, 2]), rng.randn((5, 3))).shape)
        (5, 2)

    Source: `torch.nn.functional.linear`.
    """
    names = [f"fc{i + 1}" for i in range(max(len(params), 1))]
    sizes = []
    for name in names:
        shape = np.shape(params.get(name, {}).get("weight", 0))
        if len(shape) != 2:
            raise ValueError(f"params: expected {name}.weight of shape (out, in), got {shape}")
        sizes.append(shape[1])
    sizes.append(shape[0])
    x = layers.check(params, x, _shapes(sizes), (sizes[0],))
    for name in names:
        with jax.named_scope(name):
            x = F.linear(x, **params[name])
            if name != names[-1]:
                x = F.relu(x)
    return x


def _shapes(sizes: Sequence[int]) -> layers.Shapes:
    pairs = itertools.pairwise(sizes)
    return {f"fc{i + 1}": (after, before) for i, (before, after) in enumerate(pairs)}
