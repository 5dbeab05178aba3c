"""Train y = w x at thousands of learning rates in one compiled call, and find where it diverges.

Updated after every sample, the error shrinks in an epoch by the product of 1 - 2 lr x^2 over the
samples: training diverges from the learning rate at which that product leaves -1 to 1.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgrad import cli, files, fit, init_state, make_step, plots
from fgrad.models import linear
from fgrad.types import Array, Batch, Params


def cost(params: Params, batch: Batch) -> Array:
    """Return the mean squared error."""
    x, y = batch
    return jnp.square(linear.apply(params, x) - y).mean()


def divergence_edge(x: Array) -> float:
    """Return the smallest learning rate at which an epoch no longer shrinks the error."""
    shrink = np.polynomial.Polynomial([1.0])
    for value in np.ravel(x):
        shrink *= np.polynomial.Polynomial([1.0, -2.0 * float(value) ** 2])
    roots = np.concatenate([(shrink - 1).roots(), (shrink + 1).roots()])
    real = roots.real[np.abs(roots.imag) < 1e-9]
    return float(real[real > 1e-9].min())


def main() -> int:
    """Sweep, print a table, and draw it."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=cli.at_least(2, at_most=10**7), default=10_000, metavar="N", help="(10000)"
    )
    parser.add_argument("--epochs", type=cli.at_least(1), default=10, metavar="N", help="(10)")
    parser.add_argument("--plot", type=cli.output_file(".png", ".svg"), metavar="FILE")
    args = parser.parse()
    x = jnp.array([[1.0], [2.0], [3.0]])
    y = 2 * x
    edge = divergence_edge(x)
    rates = jnp.linspace(0.0, 1.25 * edge, args.runs + 1)[1:]

    def final_cost(rate: Array) -> Array:
        optimizer = optax.sgd(rate)
        step = make_step(cost, optimizer, metrics=())
        start = init_state({"weight": jnp.ones((1, 1))}, optimizer)
        state, _ = fit(step, start, (x, y), epochs=args.epochs)
        return cost(state.params, (x, y))

    sweep = jax.jit(jax.vmap(final_cost)).lower(rates).compile()
    start = time.perf_counter()
    costs = np.asarray(sweep(rates))
    seconds = time.perf_counter() - start

    best = np.nanargmin(costs)
    grown = costs > cost({"weight": jnp.ones((1, 1))}, (x, y))
    found = rates[np.argmax(grown | ~np.isfinite(costs))]
    print(
        f"runs                    {args.runs:,} of {args.epochs} epochs in {1e3 * seconds:.1f} ms"
    )
    print(f"best learning rate      {rates[best]:.4f}, cost {costs[best]:.3g}")
    print(f"diverges from           {found:.4f} as found, {edge:.4f} by theory")
    if args.plot:
        figure = plots.sweep(rates, costs, edge)
        files.write_whole(args.plot, plots.encode(figure, args.plot.suffix))
    return 0


if __name__ == "__main__":
    cli.run(main)
