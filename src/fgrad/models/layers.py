"""What the networks share: their layers are told by the shapes of the weights."""

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

import fgrad.init
from fgrad.random import Generator, Rng
from fgrad.types import Array, ArrayLike, Params

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""By layer, in PyTorch's order: a weight of shape (out, in), or (out, in, height, width)."""


def init(
    rng: Rng, shapes: Shapes, *, dtype: npt.DTypeLike = np.float32
) -> dict[str, dict[str, Array]]:
    """Return the parameters of new layers, each with a bias.

    Args:
        rng: A `fgrad.random.Generator` for PyTorch's bits, the layers drawn in the order of
            `shapes`; or a `jax.random.key`.
        shapes: The weights' shapes: an `nn.Linear` where there are two axes, else an `nn.Conv2d`.
        dtype: float32 or float64.

    Returns:
        For each layer `{"weight": shape, "bias": (out,)}`.

    Raises:
        ValueError: If a size is below 1, or `dtype` another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> params = init(Generator(0), {"conv1": (6, 1, 5, 5), "fc1": (2, 4)})
        >>> {name: layer["bias"].shape for name, layer in params.items()}
        {'conv1': (6,), 'fc1': (2,)}

    Source: `torch.nn.Module.state_dict`.
    """
    keys = [rng] * len(shapes) if isinstance(rng, Generator) else jax.random.split(rng, len(shapes))
    params = {}
    for (name, (out, features, *kernel)), key in zip(shapes.items(), keys, strict=True):
        if kernel:
            height, width = kernel
            params[name] = fgrad.init.conv2d(key, features, out, (height, width), dtype=dtype)
        else:
            params[name] = fgrad.init.linear(key, features, out, dtype=dtype)
    return params


def size(params: Params, layer: str, *, axis: int, default: int) -> int:
    """Return a size of a layer's weight that a network leaves open.

    Args:
        params: The parameters.
        layer: The layer's name.
        axis: The weight's axis.
        default: What to return where there is no such axis, for `check` to report.

    Returns:
        The size.

    Example:
        >>> size({"fc3": {"weight": np.zeros((10, 84))}}, "fc3", axis=0, default=2)
        10
    """
    entry = params.get(layer) if isinstance(params, Mapping) else None
    shape = np.shape(entry.get("weight", 0)) if isinstance(entry, Mapping) else ()
    return shape[axis] if axis < len(shape) else default


def check(params: Params, x: ArrayLike, shapes: Shapes, features: tuple[int, ...]) -> Array:
    """Return `x` as an array, if it and the parameters have the shapes that a network takes.

    Args:
        params: The parameters.
        x: The inputs, of shape (N, *features) or features.
        shapes: The weights' shapes, as for `init`.
        features: The shape of one input.

    Returns:
        `x`.

    Raises:
        ValueError: If `x` has another shape, or entries of `params` are missing, extra or of
            another shape, all of them listed.

    Example:
        >>> params = {"fc1": {"weight": np.zeros((2, 4)), "bias": np.zeros(3)}}
        >>> check(params, np.zeros(4), {"fc1": (2, 4)}, (4,))
        Traceback (most recent call last):
          ...
        ValueError: params: expected fc1.bias of shape (2,), got (3,)
    """
    expected: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    found = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    differences = [
        f"expected {name} of shape {shape}, got {found.get(name, 'none')}"
        for name, shape in expected.items()
        if found.get(name) != shape
    ]
    differences += [f"expected no {name}, got one" for name in found if name not in expected]
    if differences:
        raise ValueError(f"params: {'; '.join(differences)}")
    x = jnp.asarray(x)
    if x.shape != features and x.shape[1:] != features:
        batch = ", ".join(["N", *map(str, features)])
        raise ValueError(f"x: expected shape ({batch}) or {features}, got {x.shape}")
    return x
