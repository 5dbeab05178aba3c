"""Run the notes' convolutional networks from a seed, and print PyTorch's numbers.

--net convnet  a random image and a random target, the L1 loss, backward and one SGD step, as in
               the lesson on one image (the default); --steps N goes on
--net lenet    a random image forward and a random cotangent back, as in the lesson on automatic
               differentiation, with the norm of every gradient

All is drawn from one generator, the network first: what torch.manual_seed(N) gives with --seed N.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fgrad
from fgrad import cli, files
from fgrad import functional as F
from fgrad.models import convnet, lenet
from fgrad.random import Generator
from fgrad.training import TrainState, check_finite, init_state
from fgrad.types import Array, Batch, Metrics, Params


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--net", choices=["convnet", "lenet"], default="convnet")
    add("--seed", type=cli.seed, default=0, metavar="N", help="as in torch.manual_seed(N) (0)")
    add("--steps", type=cli.at_least(0), metavar="N", help="SGD steps of --net convnet (1)")
    add("--lr", type=cli.positive, metavar="R", help="learning rate of --net convnet (0.01)")
    add("--summary", action="store_true", help="print the network's layers first")
    add("--json", type=cli.output_file(), metavar="FILE", help="write everything")
    args = parser.parse()
    for name, default in (("steps", 1), ("lr", 0.01)):
        if getattr(args, name) is None:
            setattr(args, name, default if args.net == "convnet" else None)
        elif args.net != "convnet":
            parser.error(f"argument --{name}: expected --net convnet, got --net {args.net}")
    return args


def train(args: argparse.Namespace) -> tuple[dict[str, Any], fgrad.DivergenceError | None]:
    """Train the lesson's network on one random image, in one compiled program."""
    rng = Generator(args.seed)
    params = convnet.init(rng)
    x, target = rng.randn((1, 1, 32, 32)), rng.randn((2,)).reshape(1, 2)

    def loss_fn(params: Params, batch: Batch) -> Array:
        x, target = batch
        return F.l1_loss(convnet.apply(params, x), target)

    optimizer = fgrad.optim.sgd(args.lr)
    step = fgrad.make_step(loss_fn, optimizer)
    batches = x[None], target[None]

    @jax.jit
    def program(state: TrainState) -> tuple[TrainState, Metrics, Array, Array]:
        before = convnet.apply(state.params, x)
        state, history = fgrad.fit(step, state, batches, epochs=args.steps)
        after = convnet.apply(state.params, x)
        history = {"loss": jnp.append(history["loss"], F.l1_loss(after, target))[:, None]}
        return state, history, before, after

    state, history, before, after = program(init_state(params, optimizer))
    losses: list[float] = history["loss"][:, 0].tolist()
    divergence = None
    try:
        check_finite(state, history, batches)
    except fgrad.DivergenceError as error:
        divergence = error
        losses = losses[: error.epoch]
    results = {
        "target": target.tolist(),
        "output_before": before.tolist(),
        "output_after": None if divergence else after.tolist(),
        "loss": losses,
        "divergence": divergence and str(divergence),
    }
    return results, divergence


def train_lines(results: dict[str, Any]) -> Iterator[str]:
    """Yield what is printed of a training."""
    yield f"target {numbers(results['target'])}"
    yield f"output {numbers(results['output_before'])}"
    for step, loss in enumerate(results["loss"]):
        yield f"step {step} loss {loss:.6g}"
    if results["output_after"]:
        yield f"output {numbers(results['output_after'])}"


def backward(args: argparse.Namespace) -> dict[str, Any]:
    """Run a random image through the lesson's network, and a random cotangent back."""
    rng = Generator(args.seed)
    params = lenet.init(rng)
    x, cotangent = rng.randn((1, 1, 32, 32)), rng.randn((1, 10))

    @jax.jit
    def program(params: Params) -> tuple[Array, Params]:
        output, pull = jax.vjp(lambda params: lenet.apply(params, x), params)
        (grads,) = pull(jnp.asarray(cotangent))
        return output, jax.tree.map(jnp.linalg.norm, jax.tree.map(jnp.ravel, grads))

    output, norms = program(params)
    return {
        "output": output.tolist(),
        "cotangent": cotangent.tolist(),
        "gradient_norms": {
            f"{layer}.{name}": norms[layer][name].item()
            for layer, entries in params.items()
            for name in entries
        },
    }


def backward_lines(results: dict[str, Any]) -> Iterator[str]:
    """Yield what is printed of a forward and a backward pass."""
    yield f"output {numbers(results['output'])}"
    yield f"cotangent {numbers(results['cotangent'])}"
    for name, norm in results["gradient_norms"].items():
        yield f"{name:12} gradient norm {norm:.6g}"


def numbers(rows: list[list[float]]) -> str:
    """Return the only row of a batch of one, as text."""
    return " ".join(f"{number:.6g}" for number in rows[0])


def main() -> int:
    """Run, print, and write what was asked for."""
    args = parse()
    # One image gains nothing from an accelerator, and PyTorch's numbers were computed on a CPU.
    jax.config.update("jax_platforms", "cpu")
    net = {"convnet": convnet, "lenet": lenet}[args.net]
    if args.summary:
        shapes = jax.eval_shape(lambda: net.init(Generator(args.seed)))
        print(fgrad.summary(net.apply, shapes, np.zeros((1, 1, 32, 32), np.float32)), end="\n\n")
    divergence = None
    if args.net == "convnet":
        results, divergence = train(args)
        lines = train_lines(results)
    else:
        results = backward(args)
        lines = backward_lines(results)
    for line in lines:
        print(line)
    if args.json:
        record = {
            "program": sys.argv[0].rpartition("/")[2],
            "arguments": {**vars(args), "json": str(args.json)},
            "versions": cli.versions(),
            **results,
        }
        files.write_whole(args.json, json.dumps(record, indent=1, allow_nan=False).encode())
    if divergence:
        raise divergence
    return 0


if __name__ == "__main__":
    cli.run(main)
