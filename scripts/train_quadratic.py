"""Fit y = w1 x^2 + w2 x + b, updated after every sample, and print PyTorch's numbers."""

import gc

if __name__ == "__main__":
    gc.disable()  # loading JAX leaves nothing to collect, and looking for it takes 0.1 s

import argparse
from collections.abc import Iterator

import jax
import numpy as np
import optax
import regression_program

from fgrad import cli
from fgrad.models import quadratic
from fgrad.types import Array, Batch, Params


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    regression_program.add_options(parser, "W1 W2 B")
    args = parser.parse()
    regression_program.check_options(parser, args, parameters=3)
    return args


def loss_fn(params: Params, batch: Batch) -> Array:
    """Return the squared error of one sample."""
    x, y = batch
    return (quadratic.apply(params, x) - y) ** 2


def main() -> int:
    """Train, print, and write what was asked for."""
    args = parse()
    # Three numbers gain nothing from an accelerator, and PyTorch's were computed on a CPU.
    jax.config.update("jax_platforms", "cpu")
    # PyTorch squares a Python number, the input, in double precision.
    jax.config.update("jax_enable_x64", True)
    x, y = np.array(args.x), np.array(args.y, np.float32)
    w1, w2, b = (np.array(value, np.float32) for value in args.init or [1.0, 1.0, 1.0])
    start = {"w1": w1, "w2": w2, "b": b}
    run = regression_program.train(
        args, quadratic.apply, loss_fn, optax.sgd(args.lr), start, (x, y)
    )

    def lines() -> Iterator[str]:
        yield f"Predict (before training) {args.predict} {run.before}"
        yield from regression_program.per_sample_lines(args, run, "Epoch:")
        if not run.divergence:
            yield f"Predict (after training) {args.predict} {run.after}"

    regression_program.finish(args, run, lines(), quadratic.apply, x, y)
    return 0


if __name__ == "__main__":
    cli.run(main)
