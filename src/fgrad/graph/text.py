"""A graph's numbers and names as text, and the whole of it as an aligned table."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgrad.graph.nodes import Edge, Graph, Node
from fgrad.types import Array, ArrayLike

_LONGEST = 28  # a formula of more characters does not fit a box
_SMALL = 4  # an array of so many numbers is shown as it is, a larger one by its norm
_SIGNS = {
    "add": "+",
    "sub": "\N{MINUS SIGN}",
    "mul": "\N{MULTIPLICATION SIGN}",
    "div": "\N{DIVISION SIGN}",
}
_SUPERSCRIPTS = str.maketrans(
    "-0123456789",
    "\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT ZERO}\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}"
    "\N{SUPERSCRIPT THREE}\N{SUPERSCRIPT FOUR}\N{SUPERSCRIPT FIVE}\N{SUPERSCRIPT SIX}"
    "\N{SUPERSCRIPT SEVEN}\N{SUPERSCRIPT EIGHT}\N{SUPERSCRIPT NINE}",
)


def number(value: ArrayLike, digits: int | None = None) -> str:
    """Return a number as text: to `digits` significant ones, or as many as tell it apart.

    Example:
        >>> import jax.numpy as jnp
        >>> number(jnp.float32(0.1)), number(jnp.float32(1) / 3, 3)
        ('0.1', '0.333')
    """
    if digits is None or not jnp.issubdtype(value.dtype, jnp.floating):
        return str(value)
    return f"{float(value):.{digits}g}"


def summary(arrays: tuple[Array | None, ...], digits: int | None = None) -> str:
    """Return arrays in a few characters: small ones as they are, large ones by their norm.

    Args:
        arrays: A node's values or adjoints.
        digits: As in `number`.

    Returns:
        One line; `-` stands for what is not there.

    Example:
        >>> import jax.numpy as jnp
        >>> summary((jnp.float32(2.5),)), summary((jnp.arange(3),)), summary((jnp.ones(100),))
        ('2.5', '[0 1 2]', 'norm 10')
    """
    return ", ".join("-" if array is None else _summary(array, digits) for array in arrays)


def _summary(array: Array, digits: int | None) -> str:
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return "key"
    # NumPy's functions: JAX's would be compiled for every shape.
    return _of_numpy(np.asarray(array), digits)


def _of_numpy(array: np.ndarray[Any, Any], digits: int | None) -> str:
    if array.ndim == 0:
        return number(array, digits)
    if array.size <= _SMALL:
        return f"[{' '.join(_of_numpy(np.asarray(item), digits) for item in array)}]"
    wide = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
    return f"norm {np.linalg.norm(wide.ravel()):.{digits or 6}g}"


def type_name(node: Node) -> str:
    """Return the dtypes and shapes of a node's outputs, as `float32[2,3]`."""
    return ", ".join(f"{v.dtype}[{','.join(map(str, v.shape))}]" for v in node.values)


def call(node: Node) -> str:
    """Return what a node computes, as `mul(w, x)`; an input or a constant is just that."""
    return f"{node.op}({', '.join(node.operands)})" if node.operands else node.op


def formula(node: Node) -> str:
    """Return what a node computes as a lesson writes it: `x + 1.0` for `add(x, 1.0)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.graph import graph
        >>> [formula(node) for node in graph(lambda x: (x + 1) ** 2, jnp.float32(1.0)).nodes]
        ['input', 'x + 1.0', 'add\N{SUPERSCRIPT TWO}']
    """
    operands = [operand.removeprefix(f"{node.scope}/") for operand in node.operands]
    if node.op in _SIGNS and len(operands) == 2:
        return f"{operands[0]} {_SIGNS[node.op]} {operands[1]}"
    if node.op == "integer_pow":
        return operands[0] + operands[1].translate(_SUPERSCRIPTS)
    if node.op == "square":
        return operands[0] + "2".translate(_SUPERSCRIPTS)
    return f"{node.op}({', '.join(operands)})" if operands else node.op


def captions(node: Node, digits: int = 5) -> tuple[list[str], str, str]:
    """Return what a figure writes in a node's box.

    Args:
        node: The node.
        digits: How many significant digits a number gets.

    Returns:
        What it is, a line each: its formula and its type where they say more than its name does;
        its value; and its adjoint.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.graph import graph
        >>> captions(graph(lambda x: x / 3, jnp.float32(1.0)).nodes[-1])
        (['x \N{DIVISION SIGN} 3.0'], 'value 0.33333', 'adjoint 1')
    """
    about = []
    if node.kind == "operation":
        text = formula(node)
        if len(text) > _LONGEST or text.startswith(f"{node.op}("):
            text = node.op  # the arrows say the rest
        if text not in node.name:
            about.append(text)
    if any(value.shape != () for value in node.values):
        about.append(type_name(node))
    value, adjoint = summary(node.values, digits), summary(node.adjoints, digits)
    return about, f"value {value}", f"adjoint {adjoint}"


def table(graph: Graph) -> str:
    """Return the graph as a table, a node a line, in the order in which they were computed."""
    into: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        into.setdefault(edge.target, []).append(edge)
    rows = [["node", "operation", "type", "value", "adjoint", "local derivatives", ""]]
    for node in graph.nodes:
        local = [
            f"{edge.source}: {number(edge.derivative)}"
            for edge in into.get(node.name, [])
            if edge.derivative is not None
        ]
        marks = [f"<- {what} not finite" for what in node.bad]
        rows.append(
            [
                node.name,
                call(node),
                type_name(node),
                summary(node.values),
                summary(node.adjoints),
                ", ".join(local),
                " ".join(marks),
            ]
        )
    return aligned(rows)


def aligned(rows: list[list[str]]) -> str:
    """Return rows of cells as lines, their columns aligned.

    Example:
        >>> print(aligned([["node", "value"], ["x", "1.0"]]))
        node  value
        x     1.0
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
