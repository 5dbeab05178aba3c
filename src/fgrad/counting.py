"""What a model is made of and what it costs, layer by layer: what print(net) is in PyTorch."""

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from fgrad.graph.trace import WRAPPERS, Scopes, called, default_branch, named_scopes
from fgrad.types import ApplyFn, Params

Pytree: TypeAlias = Any

# Where a value comes from: the numbers of the parameters that it is made of; None: from the input.
_Origin: TypeAlias = frozenset[int] | None


class Layer(NamedTuple):
    """One line of a summary.

    Attributes:
        name: The named scope, its parents before it, as `block/conv1`; empty outside of any.
        operations: What is done there, in JAX's words.
        shape: The shape of the last result.
        parameters: How many parameters are read there, and in no layer before.
        multiply_adds: How many multiply-adds its matrix products and convolutions take.
    """

    name: str
    operations: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


class Summary(NamedTuple):
    """A model's layers and totals; `print` shows a table.

    Attributes:
        layers: In the order in which they run.
        parameters: How many parameters there are, those that nothing reads included.
        multiply_adds: The layers' sum.
    """

    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        """Return the table."""
        head = ["layer", "output", "parameters", "multiply-adds", "operations"]
        rows = [
            [
                layer.name or "-",
                str(layer.shape),
                *(f"{n:,}" if n else "-" for n in (layer.parameters, layer.multiply_adds)),
                ", ".join(layer.operations),
            ]
            for layer in self.layers
        ]
        unread = self.parameters - sum(layer.parameters for layer in self.layers)
        if unread:
            rows.append(["unread", "", f"{unread:,}", "", ""])
        total = ["total", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", ""]
        table = [head, *rows, total]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        numbers = (2, 3)  # which columns are aligned on the right
        lines = (
            "  ".join(
                f"{cell:{'>' if column in numbers else '<'}{widths[column]}}"
                for column, cell in enumerate(row)
            )
            for row in table
        )
        return "\n".join(line.rstrip() for line in lines)


def summary(apply: ApplyFn, params: Params, x: Pytree) -> Summary:
    r"""Return what `apply(params, x)` does: a line a layer, with its size and its cost.

    It works for any function that JAX can trace, and nothing is computed. A layer is what stands
    under one `jax.named_scope`, or under one `jax.jit` that is in none and has something to
    multiply; what is under neither is a line of its own. What does not depend on `x`, such as the
    transpose of a weight, belongs to where its result goes.

    A matrix product takes $n_\mathrm{out} k$ multiply-adds, of $n_\mathrm{out}$ outputs that sum
    $k$ products each, and a convolution $n_\mathrm{out} c\, k_h k_w$, with $c$ the channels of a
    group; padding counts as any other input. A scan counts its body for each of its steps, a
    `cond` its dearest branch, a `platform_dependent` its default, and a `while_loop`, whose steps
    are not known, one step.

    Args:
        apply: The model.
        params: Its parameters, a pytree of arrays, or of `jax.ShapeDtypeStruct`s.
        x: Its input, likewise.

    Returns:
        The `Summary`.

    Raises:
        ValueError: If `apply` is no function; and whatever `apply` itself refuses.

    Example:
        >>> from fgrad.models import mlp
        >>> from fgrad.random import Generator
        >>> print(summary(mlp.apply, mlp.init(Generator(0), [784, 100, 10]), np.zeros(784, "f")))
        layer  output  parameters  multiply-adds  operations
        fc1    (100,)      78,500         78,400  dot_general, add, le, where
        fc2    (10,)        1,010          1,000  dot_general, add
        total              79,510         79,400
    """
    if not callable(apply):
        raise ValueError(f"apply: expected a function, got {apply!r}")
    sizes = [math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(params)]
    jaxpr = jax.make_jaxpr(apply)(params, x).jaxpr
    unread = dict(enumerate(sizes))
    origins: list[_Origin] = [frozenset([i]) for i in unread]
    origins += [None] * (len(jaxpr.invars) - len(sizes))
    steps = enumerate(_steps(jaxpr, origins, (), unread))
    # Steps of one name in a row are a layer; those without a name, each its own.
    groups = itertools.groupby(steps, lambda pair: (pair[1].name, pair[1].name or pair[0]))
    layers = tuple(_joined([step for _, step in group]) for _, group in groups)
    return Summary(layers, sum(sizes), sum(layer.multiply_adds for layer in layers))


def _joined(steps: Sequence[Layer]) -> Layer:
    return Layer(
        steps[0].name,
        tuple(dict.fromkeys(operation for step in steps for operation in step.operations)),
        steps[-1].shape,
        sum(step.parameters for step in steps),
        sum(step.multiply_adds for step in steps),
    )


def _steps(
    jaxpr: Jaxpr, inputs: Sequence[_Origin], scopes: Scopes, unread: dict[int, int]
) -> Generator[Layer, None, list[_Origin]]:
    """Yield every operation on what comes from the input, and return the results' origins.

    The parameters that an operation reads are taken out of `unread`, which has their sizes.
    """
    env: dict[Var, _Origin] = dict(zip(jaxpr.invars, inputs, strict=True))
    env |= dict.fromkeys(jaxpr.constvars, frozenset())

    def origin(atom: Var | Literal) -> _Origin:
        return frozenset() if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        origins = [origin(atom) for atom in eqn.invars]
        inner = (*scopes, *named_scopes(eqn))
        outputs: Sequence[_Origin]
        if (branch := default_branch(eqn)) is not None:
            outputs = yield from _steps(branch.jaxpr, origins[1:], inner, unread)
        elif eqn.primitive.name in WRAPPERS and _is_layered(eqn):
            whole = not scopes and len(jaxpr.eqns) == 1  # a jit from end to end is no layer
            name = () if inner or whole else (called(eqn),)
            (body,) = _bodies(eqn)
            outputs = yield from _steps(body, origins, (*inner, *name), unread)
        else:
            multiply_adds = _multiply_adds(eqn)
            known = [made_of for made_of in origins if made_of is not None]
            read = frozenset[int]().union(*known)
            outputs = [read] * len(eqn.outvars)
            if eqn.outvars and (multiply_adds or len(known) < len(origins)):
                outputs = [None] * len(eqn.outvars)
                size = sum(unread.pop(i, 0) for i in read)
                shape = _shape(eqn.outvars[-1])
                yield Layer("/".join(inner), (called(eqn),), shape, size, multiply_adds)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [origin(atom) for atom in jaxpr.outvars]


def _shape(atom: Var | Literal) -> tuple[int, ...]:
    return getattr(atom.aval, "shape", ())


def _bodies(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """Yield the jaxprs that an equation runs."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _is_layered(eqn: JaxprEqn) -> bool:
    """Return whether there is a named scope or a multiplication inside."""
    return any(
        bool(named_scopes(inner)) or _multiply_adds(inner) > 0 or _is_layered(inner)
        for body in _bodies(eqn)
        for inner in body.eqns
    )


def _multiply_adds(eqn: JaxprEqn) -> int:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        terms = math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
        return math.prod(_shape(eqn.outvars[0])) * terms
    if name == "conv_general_dilated":
        kernel = _shape(eqn.invars[1])
        channels = kernel[params["dimension_numbers"].rhs_spec[0]]
        terms = math.prod(kernel) // channels if channels else 0
        return math.prod(_shape(eqn.outvars[0])) * terms
    if (branch := default_branch(eqn)) is not None:
        return sum(map(_multiply_adds, branch.jaxpr.eqns))
    bodies = [sum(map(_multiply_adds, body.eqns)) for body in _bodies(eqn)]
    if name == "cond":
        return max(bodies)
    return sum(bodies) * (params["length"] if name == "scan" else 1)
