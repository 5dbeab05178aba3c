"""A linear layer as the whole model, and SGD with everything that it has."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgrad.optim import sgd
from parity_corpus import layers
from parity_corpus.cases import Batches, Mistake, Net, Port, reversed_batches, shuffled_samples

SGD = {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.01}


def batches(rng: np.random.Generator) -> Batches:
    """Return three batches of four samples."""
    return [
        (rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32))
        for _ in range(3)
    ]


def apply(params: Any, x: jax.Array, mistake: str = "") -> jax.Array:
    """The port."""
    return layers.linear(params, x, mistake)


def in_apply(what: str, mistake: str, cause: str) -> Mistake:
    """Return a mistake in the layer."""
    changes = {"apply": functools.partial(apply, mistake=mistake)}
    return Mistake(what, changes, 0, "forward", "output", cause)


def in_loss(what: str, mistake: str, cause: str) -> Mistake:
    """Return a mistake in the loss."""
    changes = {"loss": functools.partial(layers.mean_squared_error, mistake=mistake)}
    return Mistake(what, changes, 0, "loss", "loss", cause)


def in_optimizer(what: str, optimizer: Any, step: int, stage: str, cause: str) -> Mistake:
    """Return a mistake in the optimizer: its arguments that differ, or all of it."""
    if isinstance(optimizer, dict):
        optimizer = sgd(**{**SGD, **optimizer})
    place = {"update": "weight", "optimizer state": "weight.momentum_buffer"}[stage]
    return Mistake(what, {"optimizer": optimizer}, step, stage, place, cause)


# As AdamW has it: decay is added to the update, and not to the gradient.
decoupled = optax.chain(
    optax.scale_by_schedule(lambda count: jnp.where(count == 0, 1.0, 1.0 - SGD["dampening"])),
    optax.trace(SGD["momentum"]),
    optax.add_decayed_weights(SGD["weight_decay"]),
    optax.scale_by_learning_rate(SGD["lr"]),
)
# PyTorch takes the first gradient undampened.
always_dampened = optax.chain(
    optax.add_decayed_weights(SGD["weight_decay"]),
    optax.scale(1.0 - SGD["dampening"]),
    optax.trace(SGD["momentum"]),
    optax.scale_by_learning_rate(SGD["lr"]),
)

NET = Net(
    name="linear",
    batches=batches,
    port=Port(apply, layers.mean_squared_error, sgd(**SGD)),
    mistakes=[
        in_apply("x @ weight", "transposed", "transposed weight"),
        in_apply("outputs in reverse order", "outputs reversed", "permuted weight"),
        in_apply("no bias", "no bias", "missing bias"),
        in_apply("bias added twice", "bias twice", "doubled bias"),
        in_apply("product in bfloat16", "bfloat16", "reduced precision"),
        in_loss("sum of the squares", "sum", "loss reduction"),
        in_loss("sum over features, mean over samples", "sum over features", "loss reduction"),
        in_loss("half of the mean, as optax.l2_loss", "half", "loss factor"),
        in_optimizer("learning rate 0.01", {"lr": 0.01}, 0, "update", "learning rate"),
        in_optimizer("momentum 0.99", {"momentum": 0.99}, 1, "optimizer state", "momentum"),
        in_optimizer("dampening left out", {"dampening": 0.0}, 1, "optimizer state", "dampening"),
        in_optimizer(
            "first gradient dampened too", always_dampened, 0, "optimizer state", "dampening"
        ),
        in_optimizer(
            "Nesterov's step",
            optax.chain(
                optax.add_decayed_weights(SGD["weight_decay"]),
                optax.scale_by_schedule(
                    lambda count: jnp.where(count == 0, 1.0, 1.0 - SGD["dampening"])
                ),
                optax.trace(SGD["momentum"], nesterov=True),
                optax.scale_by_learning_rate(SGD["lr"]),
            ),
            0,
            "update",
            "Nesterov",
        ),
        in_optimizer(
            "weight decay left out", {"weight_decay": 0.0}, 0, "optimizer state", "weight decay"
        ),
        in_optimizer(
            "weight decay decoupled", decoupled, 0, "optimizer state", "weight decay coupling"
        ),
        Mistake(
            "weight converted transposed",
            {"options": {"params": lambda state: {**state, "weight": state["weight"].T}}},
            0,
            "initial weights",
            "weight",
            "transposed weight",
        ),
        Mistake("batches in another order", reversed_batches(), 0, "batch", "x", "other shuffle"),
        Mistake("samples in another order", shuffled_samples(), 0, "batch", "x", "other shuffle"),
    ],
)
