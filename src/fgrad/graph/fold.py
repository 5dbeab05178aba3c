"""From a run to the nodes and edges that are shown: what is closed becomes one node."""

from collections.abc import Callable

import jax.numpy as jnp

from fgrad.graph.nodes import Edge, Kind, Node
from fgrad.graph.sweep import Adjoints, is_floating, pull_back, sweep
from fgrad.graph.trace import Operation, Trace
from fgrad.types import Array


class Fold:
    """The visible part of a run.

    Args:
        trace: The run.
        adjoints: Its adjoints.
        names: The arguments' names.
        is_open: Says of a scope's name whether to show what is inside.

    Attributes:
        nodes: The nodes, in the order of the run.
        edges: The edges, by target.
        groups: The operations that each node stands for, by the scope's or the operation's name.
        sources: The visible values: the name of the node that each comes from, and which output.
    """

    def __init__(
        self,
        trace: Trace,
        adjoints: Adjoints,
        names: list[str],
        is_open: Callable[[str], bool],
    ) -> None:
        """Fold it."""
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.groups: dict[str, list[Operation]] = {}
        self.sources: dict[int, tuple[str, int]] = {}
        self._several: set[str] = set()  # the nodes with several outputs
        self._trace = trace
        self._adjoints = adjoints
        for operation in trace.operations:
            closed = (scope for scope in operation.scopes if not is_open(scope))
            self.groups.setdefault(next(closed, operation.name), []).append(operation)
        readers: dict[int, set[str]] = {index: {"result"} for index in trace.results}
        for name, operations in self.groups.items():
            for operation in operations:
                for index in operation.inputs:
                    readers.setdefault(index, set()).add(f"node {name}")

        for name, index in zip(names, trace.inputs, strict=True):
            self._add(name, "input", "input", (index,))
        # A number is written in its operation; it is a node only where it is the result itself.
        bare = [index for index in trace.results if index in trace.literals]
        constants = [index for index in trace.constants if index in readers] + bare
        for count, index in enumerate(constants, 1):
            self._add(f"constant_{count}", "constant", "constant", (index,))
        for name, operations in self.groups.items():
            if operations[0].name == name:
                self._add_operation(operations[0])
                continue
            produced = [index for operation in operations for index in operation.outputs]
            outside = [i for i in produced if readers.get(i, set()) - {f"node {name}"}]
            self._add_scope(name, operations, tuple(outside or produced[-1:]))

    def _add(
        self,
        name: str,
        kind: Kind,
        op: str,
        outputs: tuple[int, ...],
        operands: tuple[str, ...] = (),
        scope: str = "",
    ) -> None:
        values = tuple(self._trace.values[index] for index in outputs)
        adjoints = tuple(self._adjoint(index) for index in outputs)
        self.nodes.append(Node(name, kind, op, operands, values, adjoints, scope))
        self.sources.update({index: (name, i) for i, index in enumerate(outputs)})
        if len(outputs) > 1:
            self._several.add(name)

    def _adjoint(self, index: int) -> Array | None:
        value = self._trace.values[index]
        if not is_floating(value):
            return None
        return self._adjoints[index] if index in self._adjoints else jnp.zeros_like(value)

    def _add_operation(self, operation: Operation) -> None:
        name = self._trace.labels.get(operation.outputs[0], operation.name)
        derivatives: Adjoints = {}
        if seed := self._scalar_seed(operation.outputs, operation.inputs):
            derivatives = pull_back(self._trace, operation, seed)
        operands = self._connect(name, operation.inputs, derivatives)
        operands += tuple(map(str, operation.exponent))
        scope = "".join(operation.scopes[-1:])
        self._add(name, "operation", operation.op, operation.outputs, operands, scope)

    def _add_scope(self, name: str, operations: list[Operation], outputs: tuple[int, ...]) -> None:
        produced = {index for operation in operations for index in operation.outputs}
        read = dict.fromkeys(index for operation in operations for index in operation.inputs)
        inputs = tuple(i for i in read if i not in produced and i not in self._trace.literals)
        derivatives: Adjoints = {}
        if seed := self._scalar_seed(outputs, inputs):
            swept = sweep(self._trace, operations, seed)
            derivatives = {i: swept.get(index) for i, index in enumerate(inputs)}
        operands = self._connect(name, inputs, derivatives)
        path = operations[0].scopes
        outer = path[: path.index(name)]
        title = self._trace.titles[name]
        self._add(name, "scope", title, outputs, operands, "".join(outer[-1:]))

    def _scalar_seed(self, outputs: tuple[int, ...], inputs: tuple[int, ...]) -> Adjoints:
        """Return what to start from where an edge has a number: one scalar out, a scalar in."""
        values = self._trace.values
        if len(outputs) > 1 or not any(values[index].shape == () for index in inputs):
            return {}
        (output,) = (values[index] for index in outputs)
        if output.shape != () or not is_floating(output):
            return {}
        return {outputs[0]: jnp.ones_like(output)}

    def _connect(
        self, target: str, inputs: tuple[int, ...], derivatives: Adjoints
    ) -> tuple[str, ...]:
        """Add a node's edges, and return its operands as text."""
        operands = []
        for operand, index in enumerate(inputs):
            if index in self._trace.literals and index not in self.sources:
                operands.append(str(self._trace.values[index]))
                continue
            source, output = self.sources[index]
            derivative = derivatives.get(operand)
            if derivative is not None and derivative.shape != ():
                derivative = None
            self.edges.append(Edge(source, output, target, operand, derivative))
            operands.append(f"{source}[{output}]" if source in self._several else source)
        return tuple(operands)
