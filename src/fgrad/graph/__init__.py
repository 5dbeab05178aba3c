"""The computation graph of a function: values forward, derivatives backward.

What a lesson on backpropagation draws by hand, drawn from the function itself: each operation with
its value and its adjoint, each edge with its local derivative.
"""

from fgrad.graph.build import graph, named
from fgrad.graph.nodes import Edge, Graph, Node

__all__ = ["Edge", "Graph", "Node", "graph", "named"]
