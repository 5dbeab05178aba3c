"""The values inside a function: those that `checkpoint_name` named, or all of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

from fgrad.graph.trace import as_function
from fgrad.types import Array, Params

# What only wraps a jaxpr, or has a derivative of its own for it.
_WRAPPERS = (
    "jit",
    "closed_call",
    "core_call",
    "checkpoint",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
)


class Captured(NamedTuple):
    """A run of a function.

    Attributes:
        result: What it returns.
        named: The values that `checkpoint_name` named, in order.
        inner: Where asked for, what every equation computes, in order, the named values among them.
    """

    result: Any
    named: list[tuple[str, Array]]
    inner: list[tuple[JaxprEqn, Array]]


def capture(
    function: Callable[..., Any],
    *args: Params,
    keep: Callable[[JaxprEqn, Array], bool] | None = None,
) -> Captured:
    """Run a function, and return values inside it besides its result.

    Jitted functions, rematerialised ones and those with a derivative of their own are gone into,
    and so are scans, which are unrolled, where they have a name in them. It can be traced itself.

    Args:
        function: Any function of pytrees of arrays.
        *args: Its arguments.
        keep: Whether to return what an equation computes among the `inner` values.

    Returns:
        The result and the values.

    Raises:
        ValueError: If a value is named in a branch or in a loop whose length is not known.

    Example:
        >>> from jax.ad_checkpoint import checkpoint_name
        >>> import jax.numpy as jnp
        >>> @jax.jit
        ... def layer(x):
        ...     return checkpoint_name(2 * x, "double") + 1
        >>> captured = capture(layer, jnp.float32(3))
        >>> print(captured.result, captured.named[0][0], captured.named[0][1])
        7.0 double 6.0
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    captured = Captured(None, [], [])
    results = _run(closed, jax.tree.leaves(args), captured, keep)
    return captured._replace(result=jax.tree.unflatten(jax.tree.structure(shape), results))


def _run(
    closed: ClosedJaxpr | Jaxpr,
    inputs: Sequence[Array],
    captured: Captured,
    keep: Callable[[JaxprEqn, Array], bool] | None,
) -> list[Array]:
    jaxpr, consts = (
        (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
    )
    known: dict[Var, Array] = dict(zip(jaxpr.invars, inputs, strict=True))
    known.update(zip(jaxpr.constvars, consts, strict=True))

    def read(atom: Var | Literal) -> Array:
        return atom.val if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        name = eqn.primitive.name
        if name in _WRAPPERS:
            (inner,) = jaxprs_in_params({k: v for k, v in eqn.params.items() if "jaxpr" in k})
            consts = _consts(eqn)
            outputs = _run(ClosedJaxpr(inner, consts), values, captured, keep)
        elif name == "scan" and (keep is not None or next(_names(eqn), None)):
            outputs = _scan(eqn, values, captured, keep)
        else:
            if name != "name" and (inside := next(_names(eqn), None)):
                raise ValueError(
                    f"apply: expected no checkpoint_name within a {name}, got {inside!r}"
                )
            outputs = list(as_function(eqn)(*values))
            if name == "name":
                captured.named.append((eqn.params["name"], outputs[0]))
        if keep is not None:
            captured.inner.extend((eqn, value) for value in outputs if keep(eqn, value))
        known.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _consts(eqn: JaxprEqn) -> Sequence[Any]:
    closed = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    return closed.consts if isinstance(closed, ClosedJaxpr) else ()


def _names(eqn: JaxprEqn) -> Iterator[str]:
    """Yield the names that are given within an equation."""
    for inner in jaxprs_in_params(eqn.params):
        for each in inner.eqns:
            if each.primitive.name == "name":
                yield each.params["name"]
            yield from _names(each)


def _scan(
    eqn: JaxprEqn,
    values: Sequence[Array],
    captured: Captured,
    keep: Callable[[JaxprEqn, Array], bool] | None,
) -> list[Array]:
    num_consts, num_carry = eqn.params["num_consts"], eqn.params["num_carry"]
    consts, xs = values[:num_consts], values[num_consts + num_carry :]
    carry = list(values[num_consts : num_consts + num_carry])
    rows: dict[int, list[Array]] = {}
    steps = range(eqn.params["length"])
    for i in reversed(steps) if eqn.params["reverse"] else steps:
        items = [lax.index_in_dim(x, i, keepdims=False) for x in xs]
        outputs = _run(eqn.params["jaxpr"], [*consts, *carry, *items], captured, keep)
        carry, rows[i] = outputs[:num_carry], outputs[num_carry:]
    columns = zip(*(rows[i] for i in steps), strict=True)
    stacked = [jax.numpy.stack(column) for column in columns]
    return [*carry, *stacked]
