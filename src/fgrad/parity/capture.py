"""The values inside a function: those that `checkpoint_name` named, or all of them."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

from fgrad.graph.trace import RULES, WRAPPERS, as_function, scan_counts
from fgrad.types import Array, Params

Visit = Callable[[JaxprEqn, Array], Array]
"""Called with each equation and what it computes; its result is what is used from there on."""


class Captured(NamedTuple):
    """A run of a function.

    Attributes:
        result: What it returns.
        named: The values that `checkpoint_name` named, in order.
        inner: Where asked for, what the equations compute, in order.
    """

    result: Any
    named: list[tuple[str, Array]]
    inner: list[Array]


def capture(
    function: Callable[..., Any],
    *args: Params,
    keep: Callable[[Array], bool] | None = None,
) -> Captured:
    """Run a function, and return values inside it besides its result.

    Jitted functions, rematerialised ones and those with a derivative of their own are gone into,
    and so are scans, which are unrolled, where they have a name in them. It can be traced itself.

    Args:
        function: Any function of pytrees of arrays.
        *args: Its arguments.
        keep: Whether to return a value among the `inner` ones.

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

    def visit(eqn: JaxprEqn, value: Array) -> Array:
        if eqn.primitive.name == "name":
            captured.named.append((eqn.params["name"], value))
        if keep is not None and keep(value):
            captured.inner.append(value)
        return value

    flat = [jax.numpy.asarray(leaf) for leaf in jax.tree.leaves(args)]
    results = evaluate(closed, flat, visit, everywhere=keep is not None)
    return captured._replace(result=jax.tree.unflatten(jax.tree.structure(shape), results))


def evaluate(
    closed: ClosedJaxpr | Jaxpr,
    inputs: Sequence[Array],
    visit: Visit,
    *,
    everywhere: bool = False,
    rules: bool = True,
) -> list[Array]:
    """Run a jaxpr, with a look at everything that it computes.

    Args:
        closed: The jaxpr.
        inputs: Its arguments.
        visit: Looks at each result, and may replace it.
        everywhere: Whether to go into scans that have no name in them.
        rules: Whether to go into functions with a derivative of their own, which is lost then.

    Returns:
        Its results.

    Raises:
        ValueError: If a value is named in a branch or in a loop whose length is not known.
    """
    jaxpr, consts = (
        (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
    )
    known: dict[Var, Array] = dict(zip(jaxpr.invars, inputs, strict=True))
    known.update(zip(jaxpr.constvars, consts, strict=True))

    def read(atom: Var | Literal) -> Array:
        return atom.val if isinstance(atom, Literal) else known[atom]

    again = functools.partial(evaluate, visit=visit, everywhere=everywhere, rules=rules)
    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        name = eqn.primitive.name
        if name in WRAPPERS or (rules and name in RULES):
            inner = eqn.params["jaxpr" if "jaxpr" in eqn.params else "call_jaxpr"]
            outputs = again(inner, values)
        elif name == "scan" and (everywhere or next(_names(eqn), None)):
            outputs = _scan(eqn, values, again)
        else:
            inside = None if name == "name" or name in RULES else next(_names(eqn), None)
            if inside:
                raise ValueError(
                    f"apply: expected no checkpoint_name within a {name}, got {inside!r}"
                )
            outputs = list(as_function(eqn)(*values))
        if name not in WRAPPERS:
            outputs = [visit(eqn, value) for value in outputs]
        known.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _names(eqn: JaxprEqn) -> Iterator[str]:
    """Yield the names that are given within an equation."""
    for inner in jaxprs_in_params(eqn.params):
        for each in inner.eqns:
            if each.primitive.name == "name":
                yield each.params["name"]
            yield from _names(each)


def _scan(eqn: JaxprEqn, values: Sequence[Array], again: Callable[..., list[Array]]) -> list[Array]:
    num_consts, num_carry = scan_counts(eqn)
    consts, xs = values[:num_consts], values[num_consts + num_carry :]
    carry = list(values[num_consts : num_consts + num_carry])
    rows: dict[int, list[Array]] = {}
    steps = range(eqn.params["length"])
    for i in reversed(steps) if eqn.params["reverse"] else steps:
        items = [lax.index_in_dim(x, i, keepdims=False) for x in xs]
        outputs = again(eqn.params["jaxpr"], [*consts, *carry, *items])
        carry, rows[i] = outputs[:num_carry], outputs[num_carry:]
    columns = zip(*(rows[i] for i in steps), strict=True)
    return [*carry, *(jax.numpy.stack(column) for column in columns)]
