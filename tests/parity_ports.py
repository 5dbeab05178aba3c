"""Ports of the two recorded PyTorch programs, `scripts/recorders/parity.py`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.ad_checkpoint import checkpoint_name
from safetensors import safe_open
from safetensors.numpy import load_file

from fgrad import functional as F
from fgrad.parity import recording

REFERENCES = Path(__file__).parent / "references"
NET = REFERENCES / "parity_net.safetensors"
LINE = REFERENCES / "parity_line.safetensors"


def batch_norm(params: Any, state: Any, x: jax.Array, ddof: int = 0) -> tuple[jax.Array, Any]:
    """Normalise channels by the batch's statistics, and return the new running ones."""

    def along(vector: jax.Array) -> jax.Array:
        return jnp.broadcast_to(vector[:, None, None], x.shape)

    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    count = x.size // x.shape[1]
    y = (x - along(mean)) * along(jax.lax.rsqrt(x.var((0, 2, 3), ddof=ddof) + 1e-5))
    new = {
        "running_mean": 0.9 * state["running_mean"] + 0.1 * mean,
        "running_var": 0.9 * state["running_var"] + 0.1 * variance * (count / (count - 1)),
    }
    return y * along(params["weight"]) + along(params["bias"]), new


def layer_norm(params: Any, x: jax.Array, epsilon: float = 1e-5, ddof: int = 0) -> jax.Array:
    """Normalise the last axis."""
    mean = jnp.broadcast_to(x.mean(-1, keepdims=True), x.shape)
    root = jnp.sqrt(x.var(-1, keepdims=True, ddof=ddof) + epsilon)
    y = (x - mean) / jnp.broadcast_to(root, x.shape)
    return y * jnp.broadcast_to(params["weight"], x.shape) + params["bias"][None]


def net(
    params: Any, state: Any, x: jax.Array, masks: Any, unbiased: str = ""
) -> tuple[jax.Array, Any]:
    """The recorded network, its values named; one layer may take the unbiased variance."""
    x = checkpoint_name(F.conv2d(x, **params["conv"], padding=1), "conv")
    x, running = batch_norm(params["bn"], state["bn"], x, ddof=unbiased == "bn")
    x = checkpoint_name(F.max_pool2d(F.relu(checkpoint_name(x, "bn")), 2), "pool")
    x = x.reshape(len(x), -1) * masks["drop"]
    x = F.gelu(checkpoint_name(F.linear(x, **params["fc1"]), "fc1"))
    x = checkpoint_name(layer_norm(params["ln"], x, ddof=unbiased == "ln"), "ln")
    return F.linear(x, **params["fc2"]), {"bn": running}


def cross_entropy(output: jax.Array, target: jax.Array) -> jax.Array:
    """The recorded network's loss."""
    return F.cross_entropy(output, target)


def line(params: Any, x: jax.Array) -> jax.Array:
    """The recorded linear layer."""
    return F.linear(x, **params)


def squares(output: jax.Array, target: jax.Array) -> jax.Array:
    """The recorded linear layer's loss."""
    return F.mse_loss(output, target)


ADAMW = optax.adamw(0.01, weight_decay=0.1)


def measured(source: Path, path: Path, noise: Callable[[str, str, str], float]) -> Path:
    """Write a recording once more, its rounding noise measured otherwise.

    Args:
        source: The recording.
        path: The file to write.
        noise: Given what was measured (`"noise"` from step to step, `"drift"` over a whole run),
            the precision and the value's name, how far rounding moved it.

    Returns:
        The file.
    """
    with safe_open(source, framework="np") as file:
        facts = json.loads(file.metadata()["fgrad.parity"])
    for step in facts["steps"]:
        for kind in ("noise", "drift"):
            for dtype, values in step[kind].items():
                values.update({name: noise(kind, dtype, name) for name in values})
    arrays = recording.Arrays()
    arrays.kept = load_file(source)
    recording.write(path, arrays, facts)
    return path
