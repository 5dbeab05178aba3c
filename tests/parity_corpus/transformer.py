"""A pre-norm transformer block with two heads, and AdamW."""

import functools
from typing import Any

import jax
import numpy as np
import optax
from jax.ad_checkpoint import checkpoint_name

from parity_corpus import layers
from parity_corpus.cases import Batches, Mistake, Net, Port, shuffled_samples

WIDTH, HEADS = 8, 2
ADAMW = {"learning_rate": 1e-3, "weight_decay": 0.01}


def batches(rng: np.random.Generator) -> Batches:
    """Return two batches of three samples of four tokens."""
    return [tuple(rng.normal(size=(2, 3, 4, WIDTH)).astype(np.float32)) for _ in range(2)]


def apply(params: Any, x: jax.Array, **mistakes: str) -> jax.Array:
    """The port, its values named as in PyTorch."""

    def mistake(layer: str) -> str:
        return mistakes.get(layer, "")

    def dense(layer: str, x: jax.Array) -> jax.Array:
        entry = {"q": "k", "k": "q"}.get(layer, layer) if mistake("q and k") else layer
        return checkpoint_name(layers.linear(params[entry], x, mistake(layer)), layer)

    y = checkpoint_name(layers.layer_norm(params["ln1"], x, mistake("ln1")), "ln1")
    q, k, v = (heads(dense(layer, y), mistake("heads")) for layer in "qkv")
    scale = 1.0 if mistake("scale") else (WIDTH // HEADS) ** -0.5
    axis = {"queries": -2, "heads": 1}.get(mistake("softmax"), -1)
    attention = jax.nn.softmax(q @ k.swapaxes(2, 3) * scale, axis=axis)
    attention = checkpoint_name(attention, "softmax")
    x = x + dense("out", (attention @ v).swapaxes(1, 2).reshape(x.shape))
    y = checkpoint_name(layers.layer_norm(params["ln2"], x, mistake("ln2")), "ln2")
    y = jax.nn.gelu(dense("fc1", y), approximate=mistake("gelu") == "tanh")
    y = dense("fc2", checkpoint_name(y, "gelu"))
    return y if mistake("residual") else x + y


def heads(x: jax.Array, mistake: str) -> jax.Array:
    """Return (samples, tokens, width) as (samples, heads, tokens, width of a head)."""
    samples, tokens, width = x.shape
    if mistake == "interleaved":
        return x.reshape(samples, tokens, width // HEADS, HEADS).transpose(0, 3, 1, 2)
    return x.reshape(samples, tokens, HEADS, width // HEADS).transpose(0, 2, 1, 3)


def forward(what: str, layer: str, mistake: str, place: str, cause: str | None) -> Mistake:
    """Return a mistake that shows in a layer's output."""
    changes: dict[str, Any] = {"apply": functools.partial(apply, **{layer: mistake})}
    if mistake == "TF32":
        changes["options"] = {"dtypes": ("float32",)}
    return Mistake(what, changes, 0, "forward", place, cause)


def in_optimizer(what: str, optimizer: Any, cause: str, *, buffer: str = "") -> Mistake:
    """Return a mistake in the optimizer: its arguments that differ, or all of it."""
    if isinstance(optimizer, dict):
        optimizer = optax.adamw(**{**ADAMW, **optimizer})
    stage = "optimizer state" if buffer else "update"
    return Mistake(what, {"optimizer": optimizer}, 0, stage, f"ln1.weight{buffer}", cause)


def converted(exchange: dict[str, str]) -> dict[str, Any]:
    """Return the change that takes entries of the state_dict for others."""

    def params(state: Any) -> dict[str, dict[str, Any]]:
        nested: dict[str, dict[str, Any]] = {}
        for name in state:
            layer, entry = name.split(".")
            nested.setdefault(layer, {})[entry] = state[f"{exchange.get(layer, layer)}.{entry}"]
        return nested

    return {"options": {"params": params}}


coupled = optax.chain(
    optax.add_decayed_weights(ADAMW["weight_decay"]), optax.adam(ADAMW["learning_rate"])
)

NET = Net(
    name="transformer",
    batches=batches,
    port=Port(apply, layers.mean_squared_error, optax.adamw(**ADAMW)),
    mistakes=[
        forward("LayerNorm's epsilon 1e-6", "ln1", "Flax's epsilon", "ln1", "default epsilon"),
        forward("the same in the second", "ln2", "Flax's epsilon", "ln2", "default epsilon"),
        forward("tanh for erf in GELU", "gelu", "tanh", "gelu", "GELU approximation"),
        forward("softmax over the queries", "softmax", "queries", "softmax", "softmax axis"),
        forward("softmax over the heads", "softmax", "heads", "softmax", "softmax axis"),
        forward("q and k exchanged", "q and k", "exchanged", "q", "swapped weights"),
        forward("x @ weight", "v", "transposed", "v", "transposed weight"),
        forward("x @ weight at the end", "out", "transposed", "out", "transposed weight"),
        forward("no bias", "k", "no bias", "k", "missing bias"),
        forward("bias added twice", "fc2", "bias twice", "fc2", "doubled bias"),
        forward("product in bfloat16", "fc1", "bfloat16", "fc1", "reduced precision"),
        forward("product in TF32", "out", "TF32", "out", "reduced precision"),
        forward("scores not scaled", "scale", "left out", "softmax", "attention scale"),
        forward("heads interleaved", "heads", "interleaved", "softmax", None),
        forward("second residual left out", "residual", "left out", "output", None),
        Mistake(
            "q and v exchanged in the conversion",
            converted({"q": "v", "v": "q"}),
            0,
            "initial weights",
            "q.weight",
            "swapped weights",
        ),
        Mistake(
            "mean over samples, sum over features",
            {"loss": functools.partial(layers.mean_squared_error, mistake="sum over features")},
            0,
            "loss",
            "loss",
            "loss reduction",
        ),
        Mistake("samples in another order", shuffled_samples(), 0, "batch", "x", "other shuffle"),
        in_optimizer(
            "weight decay coupled, as in Adam", coupled, "weight decay coupling", buffer=".exp_avg"
        ),
        in_optimizer("weight decay 1e-4, optax's default", {"weight_decay": 1e-4}, "weight decay"),
        in_optimizer(
            "no weight decay on vectors",
            {"mask": lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)},
            "weight decay",
        ),
        in_optimizer("learning rate 1e-2", {"learning_rate": 1e-2}, "learning rate"),
        in_optimizer("epsilon 1e-5", {"eps": 1e-5}, "epsilon"),
        in_optimizer("Nesterov's moment", {"nesterov": True}, "Nesterov"),
        in_optimizer("first moment's decay 0.8", {"b1": 0.8}, "betas", buffer=".exp_avg"),
        in_optimizer("second moment's decay 0.95", {"b2": 0.95}, "betas", buffer=".exp_avg_sq"),
        in_optimizer(
            "every other gradient left for later",
            optax.MultiSteps(optax.adamw(**ADAMW), every_k_schedule=2),
            "gradient accumulated",
            buffer=".exp_avg",
        ),
    ],
)
