"""Parameters to and from Flax NNX modules, whose layouts are others.

PyTorch and fgrad keep a Linear's weight as (out, in) and a convolution's as (out, in, height,
width), for NCHW data. NNX keeps a kernel as (in, out) and (height, width, in, out), for NHWC data.
Where the data of a convolution is flattened for a Linear, its order differs as well: there a weight
has to be reordered, which no shape tells. So that Linear is named, with the shape of what is
flattened.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fgrad.interop.state_dict import check_entries, from_state_dict, to_state_dict
from fgrad.types import Array, Params

Module = TypeVar("Module", bound=nnx.Module)
_NumPy = np.ndarray[Any, Any]


class _Entry(NamedTuple):
    """A parameter of a module: its `state_dict` name, and what was flattened into its layer."""

    name: str
    is_kernel: bool
    value: Any
    flattened: tuple[int, ...] | None


def to_nnx(
    params: Params,
    module: Module,
    *,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
) -> Module:
    """Return a copy of an NNX module that computes with `params`.

    Args:
        params: Nested dicts of arrays, in PyTorch's shapes.
        module: An NNX module whose parameters are those of `nnx.Linear` and `nnx.Conv` layers, its
            attributes named as `params` is: `conv1.kernel` takes `conv1.weight`. It stays as it is.
        flattened: For each Linear that is fed flattened channels, its name and the shape
            (channels, height, width) before: `{"fc1": (16, 4, 4)}`.

    Returns:
        A module of the same kind, with `params` in its own dtypes and the rest of its state.

    Raises:
        ValueError: If entries are missing, extra, wrongly shaped or complex, all listed; if the
            module has parameters of other layers; or if `flattened` names no Linear of such a
            size.

    Example:
        >>> line = to_nnx({"weight": jnp.ones((1, 2))}, nnx.Linear(2, 1, use_bias=False,
        ...                                                        rngs=nnx.Rngs(0)))
        >>> print(line(jnp.array([3.0, 4.0])))
        [7.]

        After a convolution, NHWC against NCHW:

        >>> from fgrad.random import Generator
        >>> from fgrad import init
        >>> class Head(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.fc = nnx.Linear(24, 10, rngs=rngs)
        ...     def __call__(self, x):
        ...         return self.fc(x.reshape(x.shape[0], -1))
        >>> params = {"fc": init.linear(Generator(0), 24, 10)}
        >>> x = Generator(1).randn((1, 2, 3, 4))
        >>> y = params["fc"]["weight"] @ x.ravel() + params["fc"]["bias"]
        >>> head = to_nnx(params, Head(nnx.Rngs(0)), flattened={"fc": (2, 3, 4)})
        >>> bool(jnp.allclose(head(x.transpose(0, 2, 3, 1))[0], y, atol=1e-6))
        True

    Source: `flax.nnx.Linear`, `flax.nnx.Conv`.
    """
    entries = _entries(module, flattened or {})
    found = to_state_dict(params)
    expected = {
        entry.name: jax.ShapeDtypeStruct(
            _swap(entry.value.shape) if entry.is_kernel else entry.value.shape, entry.value.dtype
        )
        for entry in entries.values()
    }
    check_entries("params", found, expected, "module")
    graph, state, *rest = nnx.split(module, nnx.Param, ...)
    filled = [
        (path, variable.replace(_to_flax(found[entries[path].name], entries[path])))
        for path, variable in nnx.to_flat_state(state)
    ]
    copy: Module = nnx.merge(graph, nnx.from_flat_state(filled), *rest, copy=True)
    return copy


def from_nnx(
    module: nnx.Module,
    like: Params | None = None,
    *,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
) -> Params:
    """Return the parameters of an NNX module in PyTorch's shapes.

    Args:
        module: An NNX module whose parameters are those of `nnx.Linear` and `nnx.Conv` layers.
        like: The names, shapes and dtypes to expect, as in `from_state_dict`.
        flattened: As in `to_nnx`.

    Returns:
        Nested dicts, named as the module's attributes, `kernel` being `weight`.

    Raises:
        ValueError: As `to_nnx`, and `from_state_dict` for `like`.

    Example:
        >>> params = from_nnx(nnx.Conv(1, 6, (5, 5), rngs=nnx.Rngs(0)))
        >>> print(params["weight"].shape, params["bias"].shape)
        (6, 1, 5, 5) (6,)

    Source: `flax.nnx.Linear`, `flax.nnx.Conv`.
    """
    entries = _entries(module, flattened or {}).values()
    return from_state_dict({entry.name: _to_torch(entry) for entry in entries}, like)


def _entries(
    module: nnx.Module, flattened: Mapping[str, tuple[int, ...]]
) -> dict[tuple[Any, ...], _Entry]:
    """Return the module's parameters by path, or refuse it."""
    layers = {
        path: layer
        for path, layer in nnx.iter_modules(module)
        if isinstance(layer, nnx.Linear | nnx.Conv)
    }
    variables = nnx.to_flat_state(nnx.state(module, nnx.Param))
    others = [_dotted(path) for path, _ in variables if path[:-1] not in layers]
    if others:
        raise ValueError(
            "module: expected the parameters of Linear and Conv layers, got " + ", ".join(others)
        )
    sizes = {
        _dotted(path): layer.in_features
        for path, layer in layers.items()
        if isinstance(layer, nnx.Linear)
    }
    for name, shape in flattened.items():
        if sizes.get(name) != np.prod(shape):
            raise ValueError(
                f"flattened[{name!r}]: expected the name of a Linear and a shape of as many numbers"
                f" as it takes, among {sizes}, got {shape}"
            )
    entries = {}
    for path, variable in variables:
        *layer_path, last = path
        is_kernel = last == "kernel"
        entries[path] = _Entry(
            _dotted((*layer_path, "weight" if is_kernel else last)),
            is_kernel,
            variable.get_value(),
            flattened.get(_dotted(layer_path)) if is_kernel else None,
        )
    return entries


def _to_flax(value: _NumPy, entry: _Entry) -> Array:
    if entry.flattened:
        value = np.moveaxis(value.reshape(-1, *entry.flattened), 1, -1)
        value = value.reshape(len(value), -1)
    if entry.is_kernel:
        value = np.moveaxis(value, (1, 0), (-2, -1))
    return jnp.array(value, dtype=entry.value.dtype)


def _to_torch(entry: _Entry) -> _NumPy:
    value = np.asarray(entry.value)
    if entry.is_kernel:
        value = np.moveaxis(value, (-2, -1), (1, 0))
    if entry.flattened:
        channels, *space = entry.flattened
        value = np.moveaxis(value.reshape(-1, *space, channels), -1, 1)
        value = value.reshape(len(value), -1)
    return value


def _swap(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return PyTorch's shape of a kernel."""
    return (shape[-1], shape[-2], *shape[:-2])


def _dotted(path: Iterable[object]) -> str:
    return ".".join(map(str, path))
