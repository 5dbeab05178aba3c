"""Backpropagation by hand, as a picture: the lesson's two derivations, at any point.

The line y_hat = w x + b and the parabola y_hat = w1 x^2 + w2 x + b, both with the loss
(y_hat - y)^2, forward and back. The figures in docs/images are made by

    python scripts/backprop_graph.py --model line --output docs/images/backprop_line.svg
    python scripts/backprop_graph.py --model parabola --output docs/images/backprop_parabola.svg

and with `--train 10` ten updates follow. The exit code is 1 if they leave the finite numbers.

Source: the lesson on backpropagation (docs/lessons.md).
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp

from fgrad import cli
from fgrad.graph import Graph, graph, named
from fgrad.graph.text import aligned
from fgrad.types import Array


def line(w: Array, b: Array, x: Array, y: Array) -> Array:
    """Return the loss of the line at one sample."""
    y_hat = named(named(w * x, "wx") + b, "y_hat")
    return named(named(y_hat - y, "residual") ** 2, "loss")


def parabola(w1: Array, w2: Array, b: Array, x: Array, y: Array) -> Array:
    """Return the loss of the parabola at one sample."""
    terms = named(named(w1 * named(x**2, "x2"), "w1x2") + named(w2 * x, "w2x"), "terms")
    y_hat = named(terms + b, "y_hat")
    return named(named(y_hat - y, "residual") ** 2, "loss")


MODELS: Mapping[str, tuple[Callable[..., Array], dict[str, float]]] = {
    "line": (line, {"w": 1.0, "b": 2.0}),
    "parabola": (parabola, {"w1": 1.0, "w2": 1.0, "b": 1.0}),
}

ROLES = {
    "w": "the slope w",
    "b": "the intercept b",
    "w1": "the coefficient w1 of x^2",
    "w2": "the coefficient w2 of x",
}


def derive(loss: Callable[..., Array], point: Mapping[str, Array]) -> Graph:
    """Return the graph of a loss at a point, which gives its arguments in order."""
    return graph(loss, *point.values())


def backward_steps(derivation: Graph) -> str:
    """Return the chain rule as a table, an edge a line, from the loss back to the arguments."""
    rows = [["step back", "forward value", "local derivative", "product so far"]]
    for node in reversed(derivation.nodes):
        for edge in derivation.edges:
            if edge.target != node.name or edge.derivative is None or node.adjoint is None:
                continue
            step = f"d {node.name} / d {edge.source}"
            value = f"{edge.source} = {derivation[edge.source].value}"
            product = f"{node.adjoint} * {edge.derivative} = {node.adjoint * edge.derivative}"
            rows.append([step, value, str(edge.derivative), product])
    return aligned(rows)


def train(
    loss: Callable[..., Array],
    params: Mapping[str, Array],
    sample: Mapping[str, Array],
    *,
    updates: int,
    lr: float,
) -> tuple[str, int | None]:
    """Return every value and gradient as a table, an update a line: p <- p - lr d loss / d p.

    Where they leave the finite numbers it ends, and the update is returned with it, else None.
    """
    rows: list[list[str]] = []
    for update in range(updates + 1):
        derivation = derive(loss, {**params, **sample})
        shown = [node for node in derivation.nodes if node.name not in sample]
        if update == 0:
            grads = [f"d loss / d {name}" for name in params]
            rows.append(["update", *(node.name for node in shown), *grads])
        grads = [str(derivation[name].adjoint) for name in params]
        rows.append([str(update), *(str(node.value) for node in shown), *grads])
        if any(node.bad for node in derivation.nodes):
            return aligned(rows), update
        params = {
            node.name: node.value - lr * node.adjoint
            for node in derivation.nodes
            if node.name in params and node.adjoint is not None
        }
    return aligned(rows), None


def main() -> int:
    """Draw and print one derivation."""
    parser = cli.ArgumentParser(
        description="Backpropagation by hand, as a picture: the loss (y_hat - y)^2 at one sample."
    )
    parser.add_argument(
        "--model",
        choices=sorted(MODELS),
        default="line",
        help="y_hat = w x + b, or y_hat = w1 x^2 + w2 x + b (default: line)",
    )
    parser.add_argument("--x", type=cli.finite, default=1.0, help="the sample's input (default: 1)")
    parser.add_argument(
        "--y", type=cli.finite, default=2.0, help="the target, what y_hat should be (default: 2)"
    )
    names = dict.fromkeys(name for _, defaults in MODELS.values() for name in defaults)
    for name in names:
        owners = ", ".join(
            f"{defaults[name]:g} for the {model}"
            for model, (_, defaults) in MODELS.items()
            if name in defaults
        )
        parser.add_argument(f"--{name}", type=cli.finite, help=f"{ROLES[name]} (default: {owners})")
    parser.add_argument(
        "--train",
        type=cli.at_least(0),
        default=0,
        metavar="N",
        help="how many updates of the parameters to make, each p - lr d loss / d p (default: 0)",
    )
    parser.add_argument(
        "--lr", type=cli.positive, default=0.01, help="the updates' learning rate (default: 0.01)"
    )
    parser.add_argument(
        "--output",
        type=cli.output_file(".svg", ".png", ".mmd", ".dot", ".txt"),
        help="where to save the graph: a name ending in .svg or .png for a picture, .mmd for "
        "Mermaid, .dot for Graphviz, or .txt for the table (default: nowhere)",
    )
    options = parser.parse()
    loss, defaults = MODELS[options.model]
    given = {name: getattr(options, name) for name in names}
    if strangers := [f"--{n}" for n, v in given.items() if v is not None and n not in defaults]:
        parser.error(f"{strangers[0]}: the {options.model} has {', '.join(defaults)}")
    params = {
        name: jnp.float32(default if given[name] is None else given[name])
        for name, default in defaults.items()
    }
    sample = {"x": jnp.float32(options.x), "y": jnp.float32(options.y)}

    derivation = derive(loss, {**params, **sample})
    print(f"Forward and back\n\n{derivation}\n")
    print(f"The chain rule, from the loss back\n\n{backward_steps(derivation)}")
    if options.output:
        derivation.save(options.output)
        print(f"\nSaved {options.output}")
    if options.train:
        table, diverged = train(loss, params, sample, updates=options.train, lr=options.lr)
        print(f"\n{options.train} updates at lr {options.lr:g}\n\n{table}", flush=True)
        if diverged is not None:
            message = f"expected finite values, got others at update {diverged}: try a smaller --lr"
            parser.exit(1, f"{parser.prog}: error: --train: {message}\n")
    return 0


if __name__ == "__main__":
    cli.run(main)
