"""What a computation graph is made of: nodes, edges, and the graph that holds them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from fgrad.files import write_whole
from fgrad.types import Array

Kind: TypeAlias = Literal["input", "constant", "operation", "scope"]


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One operation with its numbers; or an input, a constant, or a closed scope.

    Attributes:
        name: Unique in its graph: an argument's name (`params.w`), the name that
            `fgrad.graph.named` gave, else the operation's (`mul`, `mul_2`), with
            the opened scopes around it in front (`conv1/add`).
        kind: `"input"`, `"constant"`, `"operation"` or `"scope"`.
        op: The primitive's name, the scope's, or the kind.
        operands: The inputs in order, as text: a node's name, or a number written in the function.
        values: Its outputs, forward. Most operations have one.
        adjoints: The derivative of the result with respect to each output; None where there is
            none: at an integer, and wherever the way back leads through what JAX cannot reverse.
        scope: The name of the opened scope around it, or `""`.
    """

    name: str
    kind: Kind
    op: str
    operands: tuple[str, ...]
    values: tuple[Array, ...]
    adjoints: tuple[Array | None, ...]
    scope: str

    @property
    def value(self) -> Array:
        """The output, where there is one.

        Raises:
            ValueError: If there are several; they are in `values`.
        """
        self._check_single("value")
        return self.values[0]

    @property
    def adjoint(self) -> Array | None:
        """The derivative of the result with respect to the output, where there is one output.

        Raises:
            ValueError: If there are several; theirs are in `adjoints`.
        """
        self._check_single("adjoint")
        return self.adjoints[0]

    @property
    def bad(self) -> tuple[str, ...]:
        """Which of `"value"` and `"adjoint"` hold NaN or infinity."""
        numbers = {"value": self.values, "adjoint": self.adjoints}
        return tuple(what for what, arrays in numbers.items() if not all(map(_is_finite, arrays)))

    def _check_single(self, what: str) -> None:
        if len(self.values) != 1:
            raise ValueError(
                f"{what}: expected a node with one output, got {self.name} with "
                f"{len(self.values)}; see {what}s"
            )


def _is_finite(array: Array | None) -> bool:
    if array is None or not jnp.issubdtype(array.dtype, jnp.inexact):
        return True
    return bool(np.isfinite(np.asarray(array)).all())  # JAX's would be compiled for every shape


@dataclasses.dataclass(frozen=True, eq=False)
class Edge:
    """One input of one node.

    Attributes:
        source: The name of the node that the value comes from.
        output: Which of its outputs.
        target: The name of the node that it goes to.
        operand: Its place among the target's operands.
        derivative: The local derivative, of the target with respect to this input, where both are
            scalars; else None.
    """

    source: str
    output: int
    target: str
    operand: int
    derivative: Array | None


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A computation graph with its numbers: what `fgrad.graph.graph` returns.

    `print(graph)` shows its table, and in a notebook it draws itself.

    Attributes:
        nodes: The nodes, each after those that it reads.
        edges: The edges, by target.
        results: The names of the nodes that the function returns.
        closed: The names of the nodes that can be opened.
        opened: The names of the scopes that are open.
        reopen: Returns this graph with these scopes open and no others; with None, all of them.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    results: tuple[str, ...]
    closed: tuple[str, ...]
    opened: frozenset[str]
    reopen: Callable[[frozenset[str] | None], "Graph"] = dataclasses.field(repr=False)

    def __getitem__(self, name: str) -> Node:
        """Return the node of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"name: expected one of {[node.name for node in self.nodes]}, got {name!r}")

    def open(self, *names: str) -> "Graph":
        """Return the graph with closed nodes opened, to show what they are made of.

        A loop is unrolled into the steps that were run; of a `cond`, the branch that was taken is
        shown. A function with a derivative rule of its own (`custom_jvp`, `custom_vjp`) stays one
        operation: what it does inside takes no part in the derivative.

        Args:
            *names: Names among `closed`, or paths that start with one (`conv1/relu`). Without any,
                everything is opened.

        Returns:
            A new graph.

        Raises:
            ValueError: If there is no such node, it cannot be opened, or a derivative rule inside
                it fails.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from fgrad.graph import graph
            >>> closed = graph(lambda x: jax.nn.silu(x) + 1, jnp.float32(1.0))
            >>> [node.name for node in closed.nodes], closed.closed
            (['x', 'silu', 'add'], ('silu',))
            >>> [node.name for node in closed.open("silu").nodes]
            ['x', 'silu/logistic', 'silu/mul', 'add']
        """
        if not names:
            return self.reopen(None)
        # To open conv1/relu is to open conv1 first.
        wanted = {name[:i] for name in names for i in _path_ends(name)}
        graph = self.reopen(self.opened | wanted)
        if missing := sorted(wanted - graph.opened):
            raise ValueError(
                f"names: expected nodes that can be opened, among {self.closed}, got {missing}"
            )
        return graph

    def render(self, fmt: str = "text") -> str:
        """Return the graph as text.

        Args:
            fmt: `"text"`, an aligned table; `"mermaid"`, for Markdown; `"dot"`, for Graphviz; or
                `"svg"`, a figure of its own.

        Returns:
            The text, without a line break at the end.

        Raises:
            ValueError: If `fmt` is none of these.

        Example:
            >>> import jax.numpy as jnp
            >>> from fgrad.graph import graph
            >>> print(graph(lambda w, x: w * x, jnp.float32(2.0), jnp.float32(3.0)))
            node  operation  type       value  adjoint  local derivatives
            w     input      float32[]  2.0    3.0
            x     input      float32[]  3.0    2.0
            mul   mul(w, x)  float32[]  6.0    1.0      w: 3.0, x: 2.0
        """
        from fgrad.graph import drawing, markup, text  # only a graph that is shown needs them

        renderers = {
            "text": text.table,
            "mermaid": markup.mermaid,
            "dot": markup.dot,
            "svg": drawing.svg,
        }
        if fmt not in renderers:
            raise ValueError(f"fmt: expected one of {', '.join(renderers)}, got {fmt!r}")
        return renderers[fmt](self)

    def save(self, path: str | Path) -> None:
        """Write the graph to a file, in the format that its name ends in.

        Args:
            path: A name ending in `.txt`, `.mmd`, `.dot`, `.svg` or `.png`.

        Raises:
            ValueError: If it ends in something else.
            OSError: If the file cannot be written.

        Example:
            >>> import tempfile, jax.numpy as jnp
            >>> from fgrad.graph import graph
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     graph(jnp.sin, jnp.float32(1.0)).save(Path(folder) / "sin.svg")
            ...     (Path(folder) / "sin.svg").read_text()[:4]
            '<svg'
        """
        path = Path(path)
        formats = {".txt": "text", ".mmd": "mermaid", ".dot": "dot", ".svg": "svg"}
        suffix = path.suffix.lower()
        if suffix == ".png":
            from fgrad.graph import drawing

            write_whole(path, drawing.png(self))
        elif suffix in formats:
            write_whole(path, f"{self.render(formats[suffix])}\n".encode())
        else:
            raise ValueError(
                f"path: expected a name ending in {', '.join(formats)} or .png, got {str(path)!r}"
            )

    def __str__(self) -> str:
        """Return the table."""
        return self.render()

    def _repr_svg_(self) -> str:
        return self.render("svg")


def _path_ends(name: str) -> list[int]:
    return [i for i, character in enumerate(name) if character == "/"] + [len(name)]
