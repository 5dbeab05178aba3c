"""An MLP with BatchNorm and dropout in training, and Adam with weight decay; no value is named."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.ad_checkpoint import checkpoint_name

from parity_corpus import layers
from parity_corpus.cases import Batches, Mistake, Net, Port, shuffled_samples

LR, DECAY = 0.01, 0.1


def batches(rng: np.random.Generator) -> Batches:
    """Return three batches of eight samples, their inputs of unlike scale and mean."""
    scale, mean = rng.uniform(0.5, 2, 6), rng.normal(size=6)
    return [
        ((rng.normal(size=(8, 6)) * scale + mean).astype(np.float32), rng.integers(0, 3, 8))
        for _ in range(3)
    ]


def apply(
    params: Any, state: Any, x: jax.Array, masks: Any, **mistakes: str
) -> tuple[jax.Array, Any]:
    """The port, its values named as in PyTorch."""

    def mistake(layer: str) -> str:
        return mistakes.get(layer, "")

    x = checkpoint_name(layers.linear(params["fc1"], x, mistake("fc1")), "fc1")
    x, running = layers.batch_norm({**params["bn1"], **state["bn1"]}, x, mistake("bn1"))
    x = checkpoint_name(x, "bn1")
    x = checkpoint_name(layers.relu(x), "relu1")
    match mistake("drop1"):
        case "left out":
            mask = jnp.ones_like(x)
        case "not scaled":
            mask = jnp.where(masks["drop1"] > 0, jnp.ones_like(x), jnp.zeros_like(x))
        case _:
            mask = masks["drop1"]
    x = checkpoint_name(mask * x, "drop1")
    x = checkpoint_name(layers.linear(params["fc2"], x, mistake("fc2")), "fc2")
    return x, {"bn1": {**state["bn1"], **running}}


def unnamed(params: Any, state: Any, x: jax.Array, masks: Any) -> tuple[jax.Array, Any]:
    """The port, without names."""
    x = layers.linear(params["fc1"], x)
    x, running = layers.batch_norm({**params["bn1"], **state["bn1"]}, x)
    x = layers.linear(params["fc2"], masks["drop1"] * layers.relu(x))
    return x, {"bn1": {**state["bn1"], **running}}


def adam(
    *,
    lr: float = LR,
    decay: float = DECAY,
    decoupled: bool = False,
    **arguments: Any,
) -> optax.GradientTransformation:
    """Return `torch.optim.Adam`, whose weight decay is coupled, from optax's parts."""
    added = optax.add_decayed_weights(decay)
    scaled = optax.scale_by_adam(**arguments)
    return optax.chain(
        *([scaled, added] if decoupled else [added, scaled]), optax.scale_by_learning_rate(lr)
    )


def scale_uncorrected(
    updates: Any, state: optax.ScaleByAdamState, params: Any = None
) -> tuple[Any, optax.ScaleByAdamState]:
    """Divide the first moment by the root of the second, both as they are, biased towards 0."""
    _, state = optax.scale_by_adam().update(updates, state, params)
    scaled = jax.tree.map(lambda mu, nu: mu / (jnp.sqrt(nu) + 1e-8), state.mu, state.nu)
    return scaled, state


uncorrected = optax.chain(
    optax.add_decayed_weights(DECAY),
    optax.GradientTransformation(optax.scale_by_adam().init, scale_uncorrected),
    optax.scale_by_learning_rate(LR),
)


def forward(what: str, layer: str, mistake: str, cause: str) -> Mistake:
    """Return a mistake that shows in the layer's output."""
    changes = {"apply": functools.partial(apply, **{layer: mistake})}
    return Mistake(what, changes, 0, "forward", layer, cause)


def in_buffer(what: str, mistake: str, buffer: str, cause: str) -> Mistake:
    """Return a mistake that shows in what BatchNorm keeps only."""
    changes = {"apply": functools.partial(apply, bn1=mistake)}
    return Mistake(what, changes, 0, "update", f"bn1.{buffer}", cause)


def in_optimizer(
    what: str, optimizer: Any, place: str, cause: str, *, stage: str = "optimizer state"
) -> Mistake:
    """Return a mistake in the optimizer."""
    return Mistake(what, {"optimizer": optimizer}, 0, stage, place, cause)


NET = Net(
    name="MLP",
    batches=batches,
    port=Port(apply, layers.cross_entropy, adam()),
    mistakes=[
        forward("x @ weight", "fc1", "transposed", "transposed weight"),
        forward("no bias", "fc1", "no bias", "missing bias"),
        forward("bias added twice", "fc2", "bias twice", "doubled bias"),
        forward("product in bfloat16", "fc1", "bfloat16", "reduced precision"),
        forward("epsilon 1e-3, as in Keras", "bn1", "Keras's epsilon", "default epsilon"),
        forward("the unbiased variance", "bn1", "unbiased variance used", "biased variance"),
        forward("BatchNorm in evaluation", "bn1", "running statistics used", "BatchNorm mode"),
        forward("dropout left out", "drop1", "left out", "dropout mode"),
        forward("dropout not scaled", "drop1", "not scaled", "dropout mode"),
        in_buffer(
            "BatchNorm's momentum 0.9",
            "momentum of what is kept",
            "running_mean",
            "BatchNorm momentum",
        ),
        in_buffer(
            "BatchNorm's momentum 0.01, as in Flax",
            "Flax's momentum",
            "running_mean",
            "BatchNorm momentum",
        ),
        in_buffer(
            "the biased variance kept", "biased variance kept", "running_var", "biased variance"
        ),
        Mistake(
            "sum over the batch",
            {"loss": functools.partial(layers.cross_entropy, mistake="sum")},
            0,
            "loss",
            "loss",
            "loss reduction",
        ),
        Mistake("samples in another order", shuffled_samples(), 0, "batch", "x", "other shuffle"),
        in_optimizer(
            "weight decay decoupled, as in AdamW",
            adam(decoupled=True),
            "fc1.weight.exp_avg",
            "weight decay coupling",
        ),
        in_optimizer(
            "weight decay left out", adam(decay=0.0), "fc1.weight.exp_avg", "weight decay"
        ),
        in_optimizer("first moment's decay 0.8", adam(b1=0.8), "fc1.weight.exp_avg", "betas"),
        in_optimizer("second moment's decay 0.99", adam(b2=0.99), "fc1.weight.exp_avg_sq", "betas"),
        in_optimizer("epsilon 1e-3", adam(eps=1e-3), "fc1.weight", "epsilon", stage="update"),
        in_optimizer(
            "learning rate 1e-3", adam(lr=1e-3), "fc1.weight", "learning rate", stage="update"
        ),
        in_optimizer(
            "no correction of the moments' bias",
            uncorrected,
            "fc1.weight",
            "bias correction",
            stage="update",
        ),
    ],
)
