"""Fit a straight line by gradient descent, and print PyTorch's numbers.

--method sgd     y = w x, updated after every sample (the default)
--method gd      y = w x, updated once an epoch by a gradient derived by hand, in double precision
--method module  y = w x + b, torch.nn.Linear(1, 1) under torch.optim.SGD with a sum of squares,
                 from the weights that torch.manual_seed(N) gives with --seed N
"""

import gc

if __name__ == "__main__":
    gc.disable()  # loading JAX leaves nothing to collect, and looking for it takes 0.1 s

import argparse
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import regression_program
from regression_program import Run

from fgrad import cli, strict
from fgrad.models import linear
from fgrad.random import Generator
from fgrad.types import Array, ArrayLike, Batch, Params


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=["sgd", "gd", "module"], default="sgd")
    parser.add_argument("--seed", type=cli.seed, metavar="N", help="seed of --method module (0)")
    parser.add_argument(
        "--processor",
        choices=strict.PROCESSORS,
        help="whose PyTorch --method module equals: its matrix product rounds differently on the "
        "two (this machine's)",
    )
    regression_program.add_options(parser, "W, or W B with --method module")
    args = parser.parse()
    regression_program.check_options(parser, args, parameters=2 if args.method == "module" else 1)
    if args.method == "module":
        args.seed = args.seed or 0
        args.processor = args.processor or strict.processor()
    for name in ("seed", "processor"):
        if getattr(args, name) is not None and args.method != "module":
            parser.error(f"argument --{name}: expected --method module, got --method {args.method}")
    return args


def sgd(args: argparse.Namespace, x: ArrayLike, y: ArrayLike) -> tuple[Run, Iterator[str]]:
    """Update after every sample."""

    def loss_fn(params: Params, batch: Batch) -> Array:
        x, y = batch
        error = linear.apply(params, x) - y
        return (error * error)[0]

    params = {"weight": np.full((1, 1), args.init or 1.0, np.float32)}
    batches = x.astype(np.float32), y.astype(np.float32)
    run = regression_program.train(args, linear.apply, loss_fn, optax.sgd(args.lr), params, batches)

    def lines() -> Iterator[str]:
        yield f"predict (before training) {args.predict} {run.before}"
        yield from regression_program.per_sample_lines(args, run, "progress:")
        if not run.divergence:
            yield f"predict (after training) {args.predict} {run.after}"

    return run, lines()


@jax.custom_vjp
def cost(params: Params, batch: Batch) -> Array:
    """Return the mean squared error of y = w x, summed from the first sample to the last."""
    x, y = batch
    error = linear.apply(params, x) - y
    return strict.sum_in_order(strict.power(error, 2.0))[0] / len(x)


def cost_forward(params: Params, batch: Batch) -> tuple[Array, tuple[Params, Batch]]:
    """Return the cost, and what its gradient needs."""
    return cost(params, batch), (params, batch)


def cost_backward(residuals: tuple[Params, Batch], cotangent: Array) -> tuple[Params, None]:
    """Return the gradient derived by hand: the mean of 2 x (w x - y)."""
    params, (x, y) = residuals
    terms = 2 * x * (linear.apply(params, x) - y)
    return {"weight": cotangent * strict.sum_in_order(terms)[None] / len(x)}, None


cost.defvjp(cost_forward, cost_backward)


def gd(args: argparse.Namespace, x: ArrayLike, y: ArrayLike) -> tuple[Run, Iterator[str]]:
    """Update once an epoch, in double precision."""
    params = {"weight": np.full((1, 1), args.init or 1.0)}
    run = regression_program.train(
        args, linear.apply, cost, optax.sgd(args.lr), params, (x[None], y[None])
    )

    def lines() -> Iterator[str]:
        yield f"Predict (before training) {args.predict} {run.before}"
        updated = [*run.params["weight"][1:], run.final["weight"].item()]
        for epoch, (weight, loss) in enumerate(zip(updated, run.loss, strict=True)):
            yield f"Epoch: {epoch} w= {weight} loss= {loss}"
        if not run.divergence:
            yield f"Predict (after training) {args.predict} {run.after}"

    return run, lines()


def module(args: argparse.Namespace, x: ArrayLike, y: ArrayLike) -> tuple[Run, Iterator[str]]:
    """Train torch.nn.Linear(1, 1) as torch.optim.SGD does, an update an epoch."""

    def apply(params: Params, x: Array) -> Array:
        weight, bias = params["weight"], params["bias"]
        return strict.linear(x.astype(jnp.float32), weight, bias, processor=args.processor)

    def loss_fn(params: Params, batch: Batch) -> Array:
        x, y = batch
        error = apply(params, x) - y
        return strict.sum_as_pytorch((error * error)[:, 0])

    params: Params = linear.init(Generator(args.seed))
    if args.init:
        weight, bias = args.init
        params = {
            "weight": np.full((1, 1), weight, np.float32),
            "bias": np.full(1, bias, np.float32),
        }
    batches = x[None].astype(np.float32), y[None].astype(np.float32)
    run = regression_program.train(args, apply, loss_fn, strict.sgd(args.lr), params, batches)

    def lines() -> Iterator[str]:
        for epoch, loss in enumerate(run.loss):
            yield f"{epoch} {loss}"
        if not run.divergence:
            yield f"w =  {run.final['weight'].item()}"
            yield f"b =  {run.final['bias'].item()}"
            yield f"y_pred =  {run.after}"

    return run, lines()


def main() -> int:
    """Train, print, and write what was asked for."""
    args = parse()
    # Three numbers gain nothing from an accelerator, and PyTorch's were computed on a CPU.
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    x, y = np.array(args.x)[:, None], np.array(args.y)[:, None]
    run, lines = {"sgd": sgd, "gd": gd, "module": module}[args.method](args, x, y)
    regression_program.finish(args, run, lines, linear.apply, x, y)
    return 0


if __name__ == "__main__":
    cli.run(main)
