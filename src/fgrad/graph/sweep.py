"""The way back: the derivative of the result with respect to every value of a run."""

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fgrad.graph.trace import Operation, Trace
from fgrad.types import Array, ArrayLike

Adjoints = dict[int, Array | None]
"""Adjoints by where the value stands in the trace; None is one that JAX cannot give."""

# What JAX's ValueErrors say where there is no way back. Its other rules that are missing raise
# NotImplementedError, and so may a rule of the user's that has no way back.
_NO_WAY_BACK = re.compile(
    "Reverse-mode differentiation does not work|do not support JVP|cannot be differentiated"
    "|not support reverse-mode|gradient with respect to .* not supported"
)


def is_floating(value: Array) -> bool:
    """Return whether derivatives exist with respect to a value: it holds no integers or keys."""
    return bool(jnp.issubdtype(value.dtype, jnp.inexact))


def sweep(
    trace: Trace, operations: Sequence[Operation], seeds: Mapping[int, Array | None]
) -> Adjoints:
    r"""Return the adjoints of all values that the seeded ones were computed from.

    $$\bar v_i = \sum_{j \text{ reads } i} \bar v_j \frac{\partial v_j}{\partial v_i}$$

    Args:
        trace: The run.
        operations: Its operations, or the part of them to go back through.
        seeds: The adjoints to start from.

    Returns:
        The adjoints that the sweep came to; where it did not come, they are zero.

    Raises:
        ValueError: If an operation's own derivative rule fails.
    """
    adjoints: Adjoints = dict(seeds)
    for operation in reversed(operations):
        if not any(i in adjoints for i in operation.outputs):
            continue
        for i, part in pull_back(trace, operation, adjoints).items():
            index = operation.inputs[i]
            total = adjoints.get(index, part)
            if index in adjoints:
                total = None if total is None or part is None else total + part
            adjoints[index] = total
    return adjoints


def pull_back(trace: Trace, operation: Operation, adjoints: Adjoints) -> Adjoints:
    """Return what one operation passes back, by operand, given its outputs' adjoints.

    Raises:
        ValueError: If the operation's own derivative rule fails.
    """
    operands = [
        i
        for i, index in enumerate(operation.inputs)
        if index not in trace.literals and is_floating(trace.values[index])
    ]
    unknown: Adjoints = dict.fromkeys(operands)
    cotangents: list[ArrayLike] = []
    for index in operation.outputs:
        value = trace.values[index]
        if not is_floating(value):
            cotangents.append(np.zeros(value.shape, jax.dtypes.float0))
            continue
        adjoint = adjoints[index] if index in adjoints else jnp.zeros_like(value)
        if adjoint is None:
            return unknown
        cotangents.append(adjoint)
    args = [trace.values[index] for index in operation.inputs]

    def of_operands(*primals: Array) -> list[Array]:
        for i, primal in zip(operands, primals, strict=True):
            args[i] = primal
        return list(operation.call(*args))

    try:
        _, vjp = jax.vjp(of_operands, *(args[i] for i in operands))
        return dict(zip(operands, vjp(cotangents), strict=True))
    except NotImplementedError:
        return unknown
    except (TypeError, ValueError, jax.errors.JAXIndexError) as error:
        if _NO_WAY_BACK.search(str(error)):
            return unknown
        name = trace.labels.get(operation.outputs[0], operation.name)
        line = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"fn: {name}: expected a derivative rule that works, got: {line}"
        ) from error
