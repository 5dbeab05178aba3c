"""A port in any style as one pure function of arrays."""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fgrad.parity.naming import Leaf
from fgrad.parity.recording import NumPy, Recording
from fgrad.types import Array, Batch, Params


class Tree:
    """The structure of a pytree whose floating-point arrays can be replaced; the rest stays.

    Args:
        value: The pytree.
    """

    def __init__(self, value: Params) -> None:
        """Take it apart."""
        found, treedef = jax.tree_util.tree_flatten_with_path(value)
        self.treedef: Any = treedef
        self.is_array = tuple(_is_float(leaf) for _, leaf in found)
        self.others = tuple(leaf for _, leaf in found if not _is_float(leaf))
        self.leaves = tuple(
            Leaf(_dotted(path), tuple(np.shape(leaf))) for path, leaf in found if _is_float(leaf)
        )
        self.key = (self.treedef, self.is_array, self.leaves, tuple(map(_identity, self.others)))

    def fill(self, arrays: Sequence[Any]) -> Params:
        """Return the pytree with these arrays."""
        return self._build(arrays, self.others)

    def bare(self, arrays: Sequence[Any]) -> Params:
        """Return the pytree with these arrays and nothing else, as an optimizer takes it."""
        return self._build(arrays, [None] * len(self.others))

    def arrays(self, value: Params) -> list[Any]:
        """Return the arrays of a pytree of this structure."""
        leaves = jax.tree.leaves(value)
        if (treedef := jax.tree.structure(value)) != self.treedef:
            raise ValueError(
                f"apply: expected a new state of structure {self.treedef}, got {treedef}"
            )
        return list(itertools.compress(leaves, self.is_array))

    def _build(self, arrays: Sequence[Any], others: Sequence[Any]) -> Params:
        floats, rest = iter(arrays), iter(others)
        leaves = [next(floats) if is_array else next(rest) for is_array in self.is_array]
        return jax.tree.unflatten(self.treedef, leaves)


class Program:
    """A port's forward pass as a pure function; equal to another whose program is the same.

    Args:
        run: `run(params, state, x, masks) -> (output, state, intermediates by path)`.
        params: The structure of its parameters.
        state: That of its buffers; None if it takes none.
        key: What tells programs apart, besides the structures.
    """

    def __init__(
        self,
        run: Callable[..., tuple[Params, Params, dict[str, Array]]],
        params: Tree,
        state: Tree | None,
        key: tuple[Any, ...],
    ) -> None:
        """Keep the parts."""
        self.params, self.state = params, state
        self._run = run
        self._key = (*key, params.key, state and state.key)

    def __hash__(self) -> int:
        """Return the hash of what tells programs apart."""
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        """Say whether the other is the same program."""
        return isinstance(other, Program) and self._key == other._key

    def __call__(
        self,
        params: Sequence[Array],
        state: Sequence[Array],
        x: Batch,
        masks: Mapping[str, Array],
    ) -> tuple[Params, list[Array], dict[str, Array]]:
        """Return the output, the new state's arrays, and intermediates by path."""
        before = None if self.state is None else self.state.fill(state)
        output, after, inner = self._run(self.params.fill(params), before, x, masks)
        return output, [] if self.state is None else self.state.arrays(after), inner


class Port(NamedTuple):
    """A port.

    Attributes:
        program: Its forward pass.
        initial: Its own initial parameters; None if it takes the recording's.
    """

    program: Program
    initial: list[NumPy] | None


def adapt(apply: Params, params: Params, state: Params, recording: Recording) -> Port:
    """Return a port of any style as one pure function.

    Args:
        apply: A function, or an NNX, Linen or Equinox module, as `check` takes it.
        params: What `check` takes.
        state: What `check` takes.
        recording: For the entries that `params` is made of where it is None or a function.

    Returns:
        The port.

    Raises:
        ValueError: If these make no port.
    """
    if _is_a(apply, "flax.linen"):
        return _linen(apply, params)
    if params is None and (_is_a(apply, "flax.nnx") or _has_arrays(apply)):
        apply, params = _call_module, apply
    if not callable(apply):
        raise ValueError(f"apply: expected a function or a module, got {type(apply).__name__}")
    if _is_a(params, "flax.nnx"):
        return _nnx(apply, params, state)
    return _pure(apply, params, state, recording)


def _pure(apply: Callable[..., Any], params: Params, state: Params, recording: Recording) -> Port:
    given = params
    if params is None:
        params = _nest({name: recording.initial[name] for name in recording.parameters})
        if state is None:
            state = _nest({name: recording.initial[name] for name in recording.buffers})
    elif callable(params) and not _has_arrays(params):
        params = params({name: np.array(value) for name, value in recording.initial.items()})
    has_state = bool(jax.tree.leaves(state))
    takes_masks = _takes_masks(apply)

    def run(p: Params, s: Params, x: Batch, masks: Mapping[str, Array]) -> tuple[Any, Any, Any]:
        extra = {"masks": masks} if takes_masks else {}
        if not has_state:
            return apply(p, x, **extra), None, {}
        returned = apply(p, s, x, **extra)
        if not isinstance(returned, tuple) or len(returned) != 2:
            got = type(returned).__name__
            raise ValueError(f"apply: expected (output, new state), as a state is given, got {got}")
        return *returned, {}

    program = Program(
        run, Tree(params), Tree(state) if has_state else None, ("pure", _identity(apply))
    )
    values = _values(params)
    return Port(program, None if given is None else values)


def _values(params: Params) -> list[NumPy] | None:
    """Return a pytree's arrays, or None if it has shapes alone."""
    leaves: list[Any] = [leaf for leaf in jax.tree.leaves(params) if _is_float(leaf)]
    if not leaves:
        raise ValueError("params: expected at least one floating-point array, got none")
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        return None
    # A number that is no array is float32 to JAX, as it is to PyTorch.
    return [np.asarray(leaf, np.float32 if isinstance(leaf, float) else None) for leaf in leaves]


def _call_module(module: Callable[..., Any], x: Batch) -> Params:
    if isinstance(x, dict):
        return module(**x)
    return module(*x) if isinstance(x, tuple) else module(x)


def _linen(module: Params, variables: Params) -> Port:
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise ValueError("params: expected a Linen module's variables, with 'params' among them")
    others = {k: v for k, v in variables.items() if k not in ("params", "intermediates")}

    def run(p: Params, s: Params, x: Batch, masks: Mapping[str, Array]) -> tuple[Any, Any, Any]:
        forward = functools.partial(
            module.apply,
            {"params": p, **(s or {})},
            mutable=[*others, "intermediates"],
            capture_intermediates=True,
        )
        output, updated = _call_module(forward, x)
        inner = _intermediates(updated.get("intermediates", {}))
        return output, {key: updated[key] for key in others} or None, inner

    params = variables["params"]
    key = ("linen", _identity(module))
    program = Program(run, Tree(params), Tree(others) if others else None, key)
    return Port(program, _values(params))


def _nnx(apply: Callable[..., Any], module: Params, state: Params) -> Port:
    from flax import nnx

    if state is not None:
        raise ValueError("state: expected none beside an NNX module, which holds its own")
    parts: Any = nnx.split(module, nnx.Param, ...)
    graph, weights, rest = parts
    has_state = _has_arrays(rest)
    takes_masks = _takes_masks(apply)

    def run(p: Params, s: Params, x: Batch, masks: Mapping[str, Array]) -> tuple[Any, Any, Any]:
        extra = {"masks": masks} if takes_masks else {}
        forward = nnx.capture(
            lambda model: apply(model, x, **extra),
            nnx.Intermediate,
            method_outputs=nnx.Intermediate,
        )
        copy = nnx.merge(graph, p, s if has_state else rest, copy=True)
        output, inner = forward(copy)
        parts: Any = nnx.split(copy, nnx.Param, nnx.Intermediate, ...)
        *_, after = parts
        return output, after, _intermediates(nnx.to_pure_dict(inner))

    key = ("nnx", _identity(apply), graph)
    program = Program(run, Tree(weights), Tree(rest) if has_state else None, key)
    return Port(program, _values(weights))


def _intermediates(tree: Params) -> dict[str, Array]:
    """Return what modules kept by path; what `__call__` returned, by the module's own path."""
    found: dict[str, Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        parts = _dotted(path).split(".")
        call = int(parts[-1]) if parts[-1].isdigit() else 0
        name = ".".join(parts[:-1] if parts[-1].isdigit() else parts)
        name = name.removesuffix("__call__").removesuffix(".") or "output"
        found[f"{name}#{call}" if call else name] = leaf
    return found


def _is_a(value: object, package: str) -> bool:
    return any(base.__module__.startswith(package) for base in type(value).__mro__)


def _has_arrays(value: object) -> bool:
    return any(_is_float(leaf) for leaf in jax.tree.leaves(value))


def _is_float(leaf: object) -> bool:
    if isinstance(leaf, float):
        return True
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, np.floating)


def _takes_masks(apply: Callable[..., Any]) -> bool:
    try:
        return "masks" in inspect.signature(apply).parameters
    except (TypeError, ValueError):  # a built-in, which says nothing of its parameters
        return False


def _identity(value: object) -> object:
    """Return the value if it can be a key, else its identity."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def _dotted(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").strip(".")


def _nest(flat: Mapping[str, NumPy]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return nested
