"""A run of a function as a flat list of operations, with every number kept."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from fgrad.types import Array

Scopes: TypeAlias = tuple[str, ...]
"""The names of the scopes around an operation, outermost first; each holds those before it."""

# The primitives that only wrap a jaxpr.
WRAPPERS = ("jit", "closed_call", "core_call", "checkpoint", "remat2")
# Those that have a derivative rule of their own in place of the jaxpr's.
RULES = ("custom_jvp_call", "custom_vjp_call")


def default_branch(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """Return what `jax.lax.platform_dependent` does by default; None for other equations."""
    platforms = eqn.params.get("branches_platforms")
    return None if platforms is None else eqn.params["branches"][platforms.index(None)]


def called(eqn: JaxprEqn) -> str:
    """Return what an equation is called: a function by its name, or a primitive by its own."""
    if eqn.primitive.name in RULES:
        return str(eqn.params["call_jaxpr"].jaxpr.debug_info.func_name)
    name = str(eqn.params.get("name", eqn.primitive.name))
    return name.lstrip("_") or name  # what is known as `jnp.where` is a jit of `_where`


class Operation(NamedTuple):
    """One operation that was run.

    Attributes:
        name: Unique in the trace.
        op: The primitive's name, or that of a function with a derivative rule of its own.
        scopes: The scopes around it.
        call: The operation itself, from arrays to a sequence of arrays.
        inputs: Where its inputs stand in the trace's values.
        outputs: Where its outputs stand.
        exponent: That of an `integer_pow`, which is no array but says what it does.
    """

    name: str
    op: str
    scopes: Scopes
    call: Callable[..., Sequence[Array]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    exponent: tuple[int, ...]


class Trace:
    """A run of a jaxpr, one operation at a time, as eager PyTorch runs.

    Wrappers and named scopes are gone through and leave their names on the operations. Control flow
    is one operation; where it is opened, it is unrolled.

    Args:
        jaxpr: What to run.
        args: The arrays to run it on.
        names: The arguments' names.
        is_open: Says of a control flow's name whether to open it.

    Attributes:
        values: Every array of the run.
        inputs: Where the arguments stand in `values`.
        results: Where the results stand.
        literals: Where the numbers stand that are written in the function.
        constants: Where the arrays stand that the function closes over.
        labels: The names that `checkpoint_name` gave, by where the value stands.
        operations: What was run, in order.
        loops: The names of the operations that `is_open` decides on.
        titles: The names given, as they were before they were made unique.
    """

    def __init__(
        self,
        jaxpr: ClosedJaxpr,
        args: Sequence[Array],
        names: Sequence[str],
        is_open: Callable[[str], bool],
    ) -> None:
        """Run it."""
        self.values: list[Array] = []
        self.literals: set[int] = set()
        self.constants: list[int] = []
        self.labels: dict[int, str] = {}
        self.operations: list[Operation] = []
        self.loops: set[str] = set()
        self.titles: dict[str, str] = {}
        self._is_open = is_open
        self._taken = set(names)
        self._counts: dict[str, int] = {}
        self._known: dict[int, int] = {}  # the id of a constant: where it stands
        self.inputs = [self._keep(arg) for arg in args]
        self.results = self._run(jaxpr, self.inputs, ())

    def _keep(self, value: Array) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _fresh(self, scopes: Scopes, name: str) -> str:
        """Return `name` within `scopes`, with a number where it is taken."""
        base = candidate = "/".join([*scopes[-1:], name])
        while candidate in self._taken:
            self._counts[base] = self._counts.get(base, 1) + 1
            candidate = f"{base}_{self._counts[base]}"
        self._taken.add(candidate)
        self.titles[candidate] = name
        return candidate

    def _run(self, closed: ClosedJaxpr | Jaxpr, inputs: Sequence[int], scopes: Scopes) -> list[int]:
        jaxpr, consts = (
            (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
        )
        env: dict[Var, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            if id(const) not in self._known:
                self._known[id(const)] = self._keep(jnp.asarray(const))
                self.constants.append(self._known[id(const)])
            env[var] = self._known[id(const)]

        def read(atom: Var | Literal) -> int:
            if not isinstance(atom, Literal):
                return env[atom]
            index = self._keep(jnp.asarray(atom.val))
            self.literals.add(index)
            return index

        stack: list[str] = []  # the name stack of the equation before...
        inner = scopes  # ...and the scopes that it stands for
        for eqn in jaxpr.eqns:
            if eqn.primitive.name != "name":  # a label neither enters nor leaves a scope
                parts = named_scopes(eqn)
                same = 0
                while same < min(len(parts), len(stack)) and parts[same] == stack[same]:
                    same += 1
                inner = inner[: len(scopes) + same]
                for part in parts[same:]:
                    inner = (*inner, self._fresh(inner, part))
                stack = parts
            whole = not scopes and len(jaxpr.eqns) == 1
            outputs = self._equation(eqn, [read(atom) for atom in eqn.invars], inner, whole=whole)
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(
        self, eqn: JaxprEqn, inputs: list[int], scopes: Scopes, *, whole: bool
    ) -> Sequence[int]:
        name, params = eqn.primitive.name, eqn.params
        if name == "name":
            self.labels[inputs[0]] = self._fresh(scopes, params["name"])
            return inputs
        if name in WRAPPERS:
            if not whole:  # a function that is one jit from end to end is not one node
                scopes = (*scopes, self._fresh(scopes, called(eqn)))
            inner = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
            return self._run(inner, inputs, scopes)
        if name in RULES:
            name = called(eqn)
        if name == "platform_index":  # of what differs by platform, the default is shown
            return [self._keep(jnp.zeros((), jnp.int32))]
        if (branch := default_branch(eqn)) is not None:
            return self._run(branch, inputs[1:], scopes)
        if name in ("cond", "scan", "while"):
            unique = self._fresh(scopes, name)
            self.loops.add(unique)
            if self._is_open(unique):
                unroll = {"cond": self._cond, "scan": self._scan, "while": self._while}[name]
                return unroll(eqn, inputs, (*scopes, unique))
            return self._apply(name, as_function(eqn), inputs, scopes, unique)
        exponent = (params["y"],) if name == "integer_pow" else ()
        return self._apply(name, as_function(eqn), inputs, scopes, exponent=exponent)

    def _apply(
        self,
        op: str,
        call: Callable[..., Sequence[Array]],
        inputs: Sequence[int],
        scopes: Scopes,
        name: str | None = None,
        exponent: tuple[int, ...] = (),
    ) -> tuple[int, ...]:
        outputs = tuple(self._keep(out) for out in call(*(self.values[i] for i in inputs)))
        if outputs:  # what has none, such as a debug print, is run and not drawn
            name = name or self._fresh(scopes, op)
            self.operations.append(
                Operation(name, op, scopes, call, tuple(inputs), outputs, exponent)
            )
        return outputs

    def _cond(self, eqn: JaxprEqn, inputs: list[int], scopes: Scopes) -> Sequence[int]:
        branches = eqn.params["branches"]
        taken = min(max(int(self.values[inputs[0]]), 0), len(branches) - 1)
        return self._run(branches[taken], inputs[1:], scopes)

    def _while(self, eqn: JaxprEqn, inputs: list[int], scopes: Scopes) -> Sequence[int]:
        for_cond, for_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        cond_consts = inputs[:for_cond]
        body_consts, carry = inputs[for_cond : for_cond + for_body], inputs[for_cond + for_body :]
        goes_on = jaxpr_as_fun(eqn.params["cond_jaxpr"])
        while goes_on(*(self.values[i] for i in [*cond_consts, *carry]))[0]:
            step = (*scopes, self._fresh(scopes, "step"))
            carry = self._run(eqn.params["body_jaxpr"], [*body_consts, *carry], step)
        return carry

    def _scan(self, eqn: JaxprEqn, inputs: list[int], scopes: Scopes) -> Sequence[int]:
        num_consts, num_carry = scan_counts(eqn)
        consts = inputs[:num_consts]
        carry, xs = inputs[num_consts : num_consts + num_carry], inputs[num_consts + num_carry :]
        steps = range(eqn.params["length"])
        rows: dict[int, Sequence[int]] = {}
        for i in reversed(steps) if eqn.params["reverse"] else steps:
            step = (*scopes, self._fresh(scopes, "step"))

            def row(array: Array, i: int = i) -> list[Array]:
                return [lax.index_in_dim(array, i, keepdims=False)]

            items = [self._apply("index", row, [x], step)[0] for x in xs]
            outputs = self._run(eqn.params["jaxpr"], [*consts, *carry, *items], step)
            carry, rows[i] = list(outputs[:num_carry]), outputs[num_carry:]
        if not steps:  # nothing to stack: the outputs are empty arrays
            return self._apply("scan", as_function(eqn), inputs, scopes)
        columns = zip(*(rows[i] for i in steps), strict=True)
        stacked = [self._apply("stack", _stack, column, scopes)[0] for column in columns]
        return [*carry, *stacked]


def scan_counts(eqn: JaxprEqn) -> tuple[int, int]:
    """Return how many of a scan's inputs are the same at every step, and how many are carried.

    By the shapes, as JAX 0.12 no longer tells: what is scanned over, or stacked, has an axis more.
    """
    body: ClosedJaxpr = eqn.params["jaxpr"]
    given: list[Any] = [each.aval for each in eqn.invars]
    returned: list[Any] = [each.aval for each in eqn.outvars]
    same, carried = (
        sum(outer.ndim == inner.ndim for outer, inner in zip(*avals, strict=True))
        for avals in ((given, body.in_avals), (returned, body.out_avals))
    )
    return same - carried, carried


def _stack(*arrays: Array) -> list[Array]:
    return [jnp.stack(arrays)]


def named_scopes(eqn: JaxprEqn) -> list[str]:
    """Return the named scopes of an equation; `jvp()` and the like stand for transformations."""
    parts = str(eqn.source_info.name_stack).split("/")
    return [part for part in parts if part and not part.endswith("()")]


def as_function(eqn: JaxprEqn) -> Callable[..., Sequence[Array]]:
    """Return the function that runs one equation alone: differentiable, by its own rule."""
    is_variable = [not isinstance(atom, Literal) for atom in eqn.invars]
    avals = [atom.aval for atom in itertools.compress(eqn.invars, is_variable)]
    # Each operand gets a variable of its own, so that x * x has two derivatives.
    identity = jax.make_jaxpr(lambda *args: args)(*avals).jaxpr
    fresh = iter(identity.invars)
    invars = [next(fresh) if is_variable[i] else atom for i, atom in enumerate(eqn.invars)]
    alone = identity.replace(
        outvars=eqn.outvars, eqns=[eqn.replace(invars=invars)], effects=eqn.effects
    )
    run = jaxpr_as_fun(ClosedJaxpr(alone, []))
    return lambda *args: run(*itertools.compress(args, is_variable))
