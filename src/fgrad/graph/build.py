"""From a function and its arguments to its graph."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr

from fgrad.graph.fold import Fold
from fgrad.graph.nodes import Graph
from fgrad.graph.sweep import sweep
from fgrad.graph.trace import Trace
from fgrad.types import Array

Pytree: TypeAlias = Any


def graph(fn: Callable[..., Pytree], *args: Pytree, cotangent: Pytree = None) -> Graph:
    r"""Return the computation graph of `fn(*args)`: values forward, derivatives backward.

    Each node has its value $v_i$ and its adjoint $\bar v_i$, the derivative of the result $L$ with
    respect to it; each edge has the local derivative where it is a number:

    $$\bar v_i = \frac{\partial L}{\partial v_i}
              = \sum_{j \text{ reads } i} \bar v_j \frac{\partial v_j}{\partial v_i}$$

    The operations run one at a time, as eager PyTorch runs them, so that in float32 nothing is
    rounded but each operation's own result. Named scopes (`jax.named_scope`) and nested `jax.jit`
    are one node each until `Graph.open` opens them, and `named` names an intermediate value.

    Args:
        fn: A function that JAX can trace, of pytrees of arrays.
        *args: Its arguments, all of them floating point: each is differentiated, as in `jax.vjp`.
            What is not to be, such as integer labels, `fn` can close over.
        cotangent: Where the result is not one scalar, the derivative to start from, structured as
            the result and floating point: what PyTorch's `out.backward(gradient)` takes. One by
            default.

    Returns:
        The `Graph`.

    Raises:
        ValueError: If JAX cannot trace `fn`, or use a derivative rule of its own; an argument, the
            result or `cotangent` is not floating point; or `cotangent` is missing, not structured
            as the result, or of another shape.
        Exception: What else `fn` or a rule of its own raises, as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w, b, x, y):
        ...     return (w * x + b - y) ** 2
        >>> line = graph(loss, *jnp.float32([1, 1, 1, 2]))
        >>> for node in line.nodes:
        ...     print(node.name, node.value, node.adjoint)
        w 1.0 0.0
        b 1.0 0.0
        x 1.0 0.0
        y 2.0 -0.0
        mul 1.0 0.0
        add 2.0 0.0
        sub 0.0 0.0
        integer_pow 0.0 1.0

    Source: PyTorch's `backward` and `retain_grad`; the note 004_fdc6d58867d57cfd.txt.
    """
    names, leaves = _named_leaves(fn, args)
    try:
        jaxpr, result = jax.make_jaxpr(fn, return_shape=True)(*args)
    except (TypeError, jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        line = str(error).strip().partition("\n")[0]
        raise ValueError(f"fn: expected a function that JAX can trace, got: {line}") from error
    cotangents = _check_cotangent(cotangent, result)
    return _build(jaxpr, leaves, names, cotangents, frozenset())


def named(value: Array, name: str) -> Array:
    """Return `value`, to be called `name` in a graph.

    It is `jax.ad_checkpoint.checkpoint_name`: wherever else the function runs, nothing changes.

    Args:
        value: Any array.
        name: What its node is called.

    Returns:
        `value`.

    Example:
        >>> import jax.numpy as jnp
        >>> line = graph(lambda w, x: named(w * x, "y_hat"), jnp.float32(2), jnp.float32(3))
        >>> print(line["y_hat"].value)
        6.0
    """
    return checkpoint_name(value, name)


def _named_leaves(
    fn: Callable[..., Pytree], args: Sequence[Pytree]
) -> tuple[list[str], list[Array]]:
    """Return the arrays of the arguments, and what each is called: `x`, `params.w`."""
    if not callable(fn):
        raise ValueError(f"fn: expected a function, got {fn!r}")
    try:
        bound = inspect.signature(fn).bind(*args)
    except (TypeError, ValueError) as error:
        raise ValueError(f"args: expected what fn takes, got {len(args)}: {error}") from None
    trees: dict[str, Pytree] = {}
    for name, value in bound.arguments.items():
        variadic = bound.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        trees |= {f"{name}.{i}": v for i, v in enumerate(value)} if variadic else {name: value}
    names, leaves = [], []
    for root, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = ".".join([root, *(jax.tree_util.keystr((k,), simple=True) for k in path)])
            if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float | complex):
                raise ValueError(f"args: {name}: expected an array, got {leaf!r}")
            leaf = jnp.asarray(leaf)
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(
                    f"args: {name}: expected floating point, which can be differentiated, got "
                    f"{leaf.dtype}; let fn close over it instead"
                )
            names.append(name)
            leaves.append(leaf)
    return names, leaves


def _check_cotangent(cotangent: Pytree, result: Pytree) -> list[Array]:
    paths = jax.tree_util.tree_leaves_with_path(result)
    if not paths:
        raise ValueError(f"fn: expected a result with an array in it, got {result!r}")
    for path, leaf in paths:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            where = jax.tree_util.keystr(path)
            raise ValueError(f"fn: expected a floating-point result, got {leaf.dtype}{where}")
    if cotangent is None:
        if [leaf.shape for _, leaf in paths] != [()]:
            shapes = jax.tree.map(lambda leaf: leaf.shape, result)
            raise ValueError(
                f"cotangent: expected one for a result that is not a scalar, of shape {shapes}"
            )
        return [jnp.ones((), paths[0][1].dtype)]
    expected, got = jax.tree.structure(result), jax.tree.structure(cotangent)
    if str(expected) != str(got):
        raise ValueError(f"cotangent: expected the result's structure, {expected}, got {got}")
    for (path, leaf), given in zip(paths, jax.tree.leaves(cotangent), strict=True):
        if np.shape(given) != leaf.shape:
            raise ValueError(
                f"cotangent{jax.tree_util.keystr(path)}: expected the result's shape, {leaf.shape},"
                f" got {np.shape(given)}"
            )
        if not jnp.issubdtype(dtype := np.asarray(given).dtype, jnp.floating):
            raise ValueError(
                f"cotangent{jax.tree_util.keystr(path)}: expected floating point, as the result is,"
                f" got {dtype}"
            )
    return [
        jnp.asarray(given, leaf.dtype)
        for (_, leaf), given in zip(paths, jax.tree.leaves(cotangent), strict=True)
    ]


def _build(
    jaxpr: ClosedJaxpr,
    args: list[Array],
    names: list[str],
    cotangents: list[Array],
    opened: frozenset[str] | None,
) -> Graph:
    """Run forward and back, and fold what is closed into one node each."""

    def is_open(name: str) -> bool:
        return opened is None or name in opened

    trace = Trace(jaxpr, args, names, is_open)
    seeds: dict[int, Array] = {}
    for index, seed in zip(trace.results, cotangents, strict=True):
        seeds[index] = seeds[index] + seed if index in seeds else seed
    fold = Fold(trace, sweep(trace, trace.operations, seeds), names, is_open)
    scopes = trace.loops.union(*(operation.scopes for operation in trace.operations))
    return Graph(
        nodes=tuple(fold.nodes),
        edges=tuple(fold.edges),
        results=tuple(dict.fromkeys(fold.sources[index][0] for index in trace.results)),
        closed=tuple(name for name in fold.groups if name in scopes),
        opened=frozenset(filter(is_open, scopes)),
        reopen=functools.partial(_build, jaxpr, args, names, cotangents),
    )
