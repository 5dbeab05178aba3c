"""The graph in the languages that other tools draw: Mermaid and DOT."""

import html
from collections.abc import Iterator

from fgrad.graph.nodes import Graph, Node
from fgrad.graph.text import captions, number

_BAD = {"mermaid": "fill:#fde0dd,stroke:#c00000,stroke-width:3px", "dot": "#fde0dd"}
_MERMAID_SHAPES = {
    "input": '(["{}"])',
    "constant": '(["{}"])',
    "operation": '["{}"]',
    "scope": '[["{}"]]',
}
_DOT_STYLES = {
    "input": 'style="rounded,filled", fillcolor="#e8f1fb"',
    "constant": 'style="rounded,filled", fillcolor="#f2f2f2"',
    "operation": 'style="filled", fillcolor="white"',
    "scope": 'style="filled", fillcolor="white", peripheries=2',
}


def mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart, which Markdown on GitHub draws.

    Args:
        graph: The graph.

    Returns:
        The flowchart; what the function returns has a thick border, what is not finite is red.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.graph import graph
        >>> print(mermaid(graph(lambda x: -x, jnp.float32(1.0))))
        flowchart LR
            n0(["<b>x</b><br/>value 1<br/>adjoint -1"])
            n1["<b>neg</b><br/>value -1<br/>adjoint 1"]
            n0 -- "-1" --> n1
            style n1 stroke-width:3px
    """
    ids = {node.name: f"n{i}" for i, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for depth, item in _walk(graph):
        if isinstance(item, Node):
            text = "<br/>".join(html.escape(line) for line in _lines(item))
            text = text.replace(html.escape(item.name), f"<b>{html.escape(item.name)}</b>", 1)
            line = f"{ids[item.name]}{_MERMAID_SHAPES[item.kind].format(text)}"
        else:
            line = f'subgraph s{len(lines)}["{html.escape(item)}"]' if item else "end"
        lines.append("    " * (depth + 1) + line)
    for edge in graph.edges:
        label = "" if edge.derivative is None else f'-- "{number(edge.derivative, 5)}" '
        lines.append(f"    {ids[edge.source]} {label}--> {ids[edge.target]}")
    lines += [f"    style {ids[name]} stroke-width:3px" for name in graph.results]
    lines += [f"    style {ids[node.name]} {_BAD['mermaid']}" for node in graph.nodes if node.bad]
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    r"""Return the graph in Graphviz's language.

    Args:
        graph: The graph.

    Returns:
        A digraph; what the function returns has a thick border, what is not finite is red.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.graph import graph
        >>> print(dot(graph(lambda x: -x, jnp.float32(1.0))))  # doctest: +ELLIPSIS
        digraph {
            rankdir=LR
            node [shape=box, fontname="monospace"]
            edge [fontname="monospace"]
            n0 [label="x\nvalue 1\nadjoint -1", style="rounded,filled", fillcolor="#e8f1fb"]
            n1 [label="neg\nvalue -1\nadjoint 1", style="filled", ...penwidth=3]
            n0 -> n1 [label="-1"]
        }
    """
    ids = {node.name: f"n{i}" for i, node in enumerate(graph.nodes)}
    lines = [
        "digraph {",
        "    rankdir=LR",
        '    node [shape=box, fontname="monospace"]',
        '    edge [fontname="monospace"]',
    ]
    for depth, item in _walk(graph):
        if isinstance(item, Node):
            text = "\\n".join(_quoted(line) for line in _lines(item))
            marks = ", penwidth=3" if item.name in graph.results or item.bad else ""
            marks += f', color="#c00000", fillcolor="{_BAD["dot"]}"' if item.bad else ""
            line = f'{ids[item.name]} [label="{text}", {_DOT_STYLES[item.kind]}{marks}]'
        else:
            name = f"cluster_{len(lines)}"
            line = f'subgraph {name} {{ label="{_quoted(item)}"' if item else "}"
        lines.append("    " * (depth + 1) + line)
    for edge in graph.edges:
        label = "" if edge.derivative is None else f' [label="{number(edge.derivative, 5)}"]'
        lines.append(f"    {ids[edge.source]} -> {ids[edge.target]}{label}")
    return "\n".join([*lines, "}"])


def _lines(node: Node) -> list[str]:
    about, value, adjoint = captions(node)
    return [node.name, *about, value, adjoint]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _walk(graph: Graph) -> Iterator[tuple[int, Node | str]]:
    """Yield the nodes and, around those of an opened scope, its name and an empty string.

    With each comes how many scopes are around it.
    """
    around: list[str] = []
    for node in [*graph.nodes, None]:
        scope = node.scope if node else ""
        while around and not f"{scope}/".startswith(f"{around[-1]}/"):
            around.pop()
            yield len(around), ""
        while scope and (not around or around[-1] != scope):
            start = len(around[-1]) + 1 if around else 0
            end = scope.find("/", start)
            yield len(around), scope[:end] if end >= 0 else scope
            around.append(scope[:end] if end >= 0 else scope)
        if node:
            yield len(around), node
