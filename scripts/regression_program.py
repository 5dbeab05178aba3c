"""What the two regression programs share: their options, a run, and its record."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import optax

from fgrad import cli, files, strict
from fgrad.least_squares import least_squares
from fgrad.training import (
    DivergenceError,
    TrainState,
    check_finite,
    fit,
    init_state,
    make_step,
)
from fgrad.types import ApplyFn, Array, ArrayLike, LossFn, Metrics, Params


def add_options(parser: cli.ArgumentParser, init: str) -> None:
    """Add the options that every regression program has.

    Args:
        parser: The program's parser.
        init: How the help names the parameters that `--init` takes, as `"W1 W2 B"`.

    Example:
        >>> parser = cli.ArgumentParser()
        >>> add_options(parser, "W")
        >>> parser.parse(["--x", "1", "2", "--y", "3", "6"]).y
        [3.0, 6.0]
    """
    add = parser.add_argument
    add("--x", type=cli.finite, nargs="+", default=[1.0, 2.0, 3.0], help="inputs (1 2 3)")
    add("--y", type=cli.finite, nargs="+", default=[2.0, 4.0, 6.0], help="targets (2 4 6)")
    add(
        "--epochs",
        type=cli.at_least(0),
        default=100,
        metavar="N",
        help="passes over the data (100)",
    )
    add("--lr", type=cli.positive, default=0.01, metavar="R", help="learning rate (0.01)")
    add("--init", type=cli.finite, nargs="+", metavar="P", help=f"start from these: {init}")
    add("--predict", type=cli.number, default=4, metavar="X", help="predict y at X (4)")
    add("--quiet", action="store_true", help="print only the first and the last line")
    add(
        "--plot",
        type=cli.output_file(".png", ".svg"),
        metavar="FILE",
        help="draw the loss per step and the way down the cost, as PNG or SVG",
    )
    add(
        "--json",
        type=cli.output_file(),
        metavar="FILE",
        help="write everything: arguments, every loss and gradient, versions",
    )


def check_options(parser: cli.ArgumentParser, args: argparse.Namespace, parameters: int) -> None:
    """Refuse, as bad usage, options that do not fit together.

    Args:
        parser: The program's parser.
        args: What it read.
        parameters: How many numbers `--init` takes.

    Example:
        >>> parser = cli.ArgumentParser()
        >>> add_options(parser, "W")
        >>> check_options(parser, parser.parse([]), 1)
    """
    if len(args.x) != len(args.y):
        parser.error(
            f"argument --y: expected as many numbers as --x, {len(args.x)}, got {len(args.y)}"
        )
    if args.json and args.plot and args.json.resolve() == args.plot.resolve():
        parser.error(f"argument --plot: expected another file than --json, got '{args.plot}'")
    if args.init is not None and len(args.init) != parameters:
        parser.error(f"argument --init: expected {parameters} numbers, got {len(args.init)}")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, up to its end or to its first loss that is not finite.

    Attributes:
        loss: The loss of every step.
        grads: By parameter, its gradient in every step.
        params: By parameter, its value at every step, before the update.
        final: The parameters after the last of these steps.
        before: The model at `--predict` before the first step.
        after: The same after the last.
        divergence: What ended the run early, or None.
    """

    loss: list[float]
    grads: dict[str, list[float]]
    params: dict[str, list[float]]
    final: Params
    before: float
    after: float
    divergence: DivergenceError | None


def train(
    args: argparse.Namespace,
    apply: ApplyFn,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    params: Mapping[str, ArrayLike],
    batches: tuple[ArrayLike, ArrayLike],
) -> Run:
    """Train and predict, rounding as PyTorch does.

    Args:
        args: The program's options, of which `epochs` and `predict` count here.
        apply: The model.
        loss_fn: `loss_fn(params, batch) -> scalar`.
        optimizer: Any optax transformation.
        params: The parameters to start from, of one element each.
        batches: The inputs and the targets, as for `fgrad.fit`.

    Returns:
        The run.

    Example:
        >>> run = train(
        ...     argparse.Namespace(epochs=2, predict=4),
        ...     lambda params, x: params["w"] * x,
        ...     lambda params, batch: (params["w"] * batch[0] - batch[1]) ** 2,
        ...     optax.sgd(0.25),
        ...     {"w": np.float32(0)},
        ...     (np.float32([1.0]), np.float32([2.0])),
        ... )
        >>> run.loss, run.grads, run.after
        ([4.0, 1.0], {'w': [-4.0, -2.0]}, 6.0)
    """
    step = make_step(loss_fn, optimizer, metrics=("loss", "grads", "params"))
    at = np.full_like(batches[0], args.predict, shape=(1,) * batches[0].ndim)

    def program(state: TrainState) -> tuple[TrainState, Metrics, Array, Array]:
        final, history = fit(step, state, batches, epochs=args.epochs)
        return final, history, apply(state.params, at), apply(final.params, at)

    compiled = jax.jit(program, compiler_options=strict.COMPILER_OPTIONS)
    final, history, before, after = compiled(init_state(params, optimizer))
    divergence = None
    try:
        check_finite(final, history, batches)
    except DivergenceError as error:
        divergence = error
    finite = np.isfinite(np.ravel(history["loss"]))
    steps = finite.size if finite.all() else int(np.argmin(finite))

    def by_step(tree: Params) -> dict[str, list[float]]:
        return {name: np.ravel(tree[name])[:steps].tolist() for name in params}

    reached = {name: np.asarray(final.params[name]) for name in params}
    if steps < finite.size:  # what the steps after that one made of the parameters is noise
        epoch_and_step = np.unravel_index(steps, history["loss"].shape)
        reached = {name: np.asarray(history["params"][name][epoch_and_step]) for name in params}
    return Run(
        loss=np.ravel(history["loss"])[:steps].tolist(),
        grads=by_step(history["grads"]),
        params=by_step(history["params"]),
        final=reached,
        before=before.item(),
        after=after.item(),
        divergence=divergence,
    )


def per_sample_lines(args: argparse.Namespace, run: Run, label: str) -> Iterator[str]:
    r"""Yield the lines of a program that updates after every sample.

    Args:
        args: The program's options.
        run: Its run.
        label: What an epoch's line begins with.

    Yields:
        `\tgrad: X Y GRAD...` a step, and `LABEL EPOCH LOSS` an epoch; nothing if `args.quiet`.

    Example:
        >>> run = Run([1.0], {"w": [-2.0]}, {"w": [1.0]}, {}, 0.0, 0.0, None)
        >>> args = argparse.Namespace(x=[1.0], y=[2.0], quiet=False)
        >>> list(per_sample_lines(args, run, "Epoch:"))
        ['\tgrad: 1.0 2.0 -2.0', 'Epoch: 0 1.0']
    """
    if args.quiet:  # it asks for the lines around these
        return
    samples = list(zip(args.x, args.y, strict=True))
    for step, (loss, *grads) in enumerate(zip(run.loss, *run.grads.values(), strict=True)):
        epoch, sample = divmod(step, len(samples))
        yield " ".join(["\tgrad:", *map(str, samples[sample]), *map(str, grads)])
        if sample == len(samples) - 1:
            yield f"{label} {epoch} {loss}"


def finish(
    args: argparse.Namespace,
    run: Run,
    lines: Iterable[str],
    apply: ApplyFn,
    x: ArrayLike,
    y: ArrayLike,
) -> None:
    """Print a run's lines, then write its record and its picture where they were asked for.

    Args:
        args: The program's options.
        run: Its run.
        lines: What to print; the first and the last alone if `args.quiet`.
        apply: The model.
        x: The inputs, as `apply` takes them.
        y: The targets, as `apply` returns them.

    Raises:
        DivergenceError: What ended the run early, after all else is done.

    Example:
        >>> run = Run([], {}, {}, {}, 1.0, 2.0, None)
        >>> args = argparse.Namespace(quiet=True, json=None, plot=None)
        >>> finish(args, run, ["first", "second", "last"], None, None, None)
        first
        last
    """
    if args.quiet:
        first, *others = lines
        lines = [first, *others[-1:]]
    for line in lines:
        print(line)
    if args.json:
        text = json.dumps(_record(args, run, apply, x, y), indent=1, allow_nan=False)
        files.write_whole(args.json, text.encode())
    if args.plot:
        from fgrad import plots

        path = {
            name: np.reshape([*run.params[name], value.item()], (-1, *value.shape))
            for name, value in run.final.items()
        }
        figure = plots.regression(run.loss, path, apply, x, y)
        files.write_whole(args.plot, plots.encode(figure, args.plot.suffix))
    if run.divergence:
        raise run.divergence


def _record(
    args: argparse.Namespace, run: Run, apply: ApplyFn, x: ArrayLike, y: ArrayLike
) -> object:
    optimum = least_squares(apply, {n: np.asarray(v, float) for n, v in run.final.items()}, x, y)
    divergence = run.divergence and {
        "epoch": run.divergence.epoch,
        "step": run.divergence.step,
        "message": str(run.divergence),
    }
    return _plain(
        {
            "program": Path(sys.argv[0]).name,
            "arguments": vars(args),
            "versions": cli.versions(),
            "loss": run.loss,
            "grads": run.grads,
            "params": run.params,
            "final": run.final,
            "least_squares": optimum,
            "prediction": {
                "before": run.before,
                "after": None if run.divergence else run.after,
            },
            "divergence": divergence,
        }
    )


def _plain(value: object) -> object:
    """Return `value` as JSON knows it: no arrays, paths, infinities or NaN."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | jax.Array):
        return _plain(value.item())
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value
