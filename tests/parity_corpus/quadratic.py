"""y = w1 x^2 + w2 x + b, with parameters of its own and Nesterov's momentum."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgrad.optim import sgd
from parity_corpus.cases import Batches, Mistake, Net, Port, shuffled_samples

SGD = {"lr": 0.01, "momentum": 0.9, "nesterov": True}


def batches(rng: np.random.Generator) -> Batches:
    """Return three batches of five points."""
    return [tuple(rng.normal(size=(2, 5)).astype(np.float32)) for _ in range(3)]


def apply(params: Any, x: jax.Array, mistake: str = "") -> jax.Array:
    """The port."""
    w1, w2, b = (jnp.broadcast_to(params[name], x.shape) for name in ("w1", "w2", "b"))
    match mistake:
        case "no b":
            return w1 * x**2 + w2 * x
        case "b twice":
            return w1 * x**2 + w2 * x + 2 * b
        case "w1 and w2 exchanged":
            w1, w2 = w2, w1
    return w1 * x**2 + w2 * x + b


def loss(output: jax.Array, target: jax.Array, reduce: Any = jnp.sum) -> jax.Array:
    """The sum of the squared errors."""
    return reduce((output - target) ** 2)


def in_apply(what: str, mistake: str, cause: str) -> Mistake:
    """Return a mistake in the model."""
    changes = {"apply": functools.partial(apply, mistake=mistake)}
    return Mistake(what, changes, 0, "forward", "output", cause)


def in_optimizer(
    what: str, optimizer: Any, cause: str, *, step: int = 0, stage: str = "update"
) -> Mistake:
    """Return a mistake in the optimizer."""
    place = {"update": "w1", "optimizer state": "w1.momentum_buffer"}[stage]
    return Mistake(what, {"optimizer": optimizer}, step, stage, place, cause)


def exchanged(state: Any) -> Any:
    """Convert the weights with two of them exchanged."""
    return {"w1": state["w2"], "w2": state["w1"], "b": state["b"]}


NET = Net(
    name="quadratic",
    batches=batches,
    port=Port(apply, loss, sgd(**SGD)),
    mistakes=[
        in_apply("b left out", "no b", "missing bias"),
        in_apply("b added twice", "b twice", "doubled bias"),
        in_apply("w1 and w2 exchanged in the model", "w1 and w2 exchanged", "swapped weights"),
        Mistake(
            "w1 and w2 exchanged in the conversion",
            {"options": {"params": exchanged}},
            0,
            "initial weights",
            "w1",
            "swapped weights",
        ),
        Mistake(
            "started from ones",
            {"options": {"params": lambda state: {k: np.ones_like(v) for k, v in state.items()}}},
            0,
            "initial weights",
            "w1",
            "other initial weights",
        ),
        Mistake(
            "mean of the squares",
            {"loss": functools.partial(loss, reduce=jnp.mean)},
            0,
            "loss",
            "loss",
            "loss reduction",
        ),
        Mistake("samples in another order", shuffled_samples(), 0, "batch", "x", "other shuffle"),
        in_optimizer(
            "learning rate over the batch's size", sgd(**{**SGD, "lr": 0.002}), "learning rate"
        ),
        in_optimizer("plain momentum", sgd(**{**SGD, "nesterov": False}), "Nesterov"),
        in_optimizer(
            "uphill",
            optax.chain(optax.trace(SGD["momentum"], nesterov=True), optax.scale(SGD["lr"])),
            "learning rate",
        ),
        in_optimizer("momentum 0.5", sgd(**{**SGD, "momentum": 0.5}), "momentum"),
        in_optimizer("no momentum", sgd(0.01), "momentum", stage="optimizer state"),
        in_optimizer(
            "every other gradient left for later",
            optax.MultiSteps(sgd(**SGD), every_k_schedule=2),
            "gradient accumulated",
            stage="optimizer state",
        ),
    ],
)
