"""Layers as people port them: right, or with one of the mistakes that people make."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
Params = Mapping[str, Any]


def reduced(x: Array, bits: int) -> Array:
    """Return `x` with 8 exponent bits and `bits` of mantissa: 7 are bfloat16, 10 are TF32."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)


def weights(params: Params, mistake: str) -> tuple[Array, Array]:
    """Return a layer's weight and bias, or what a mistake makes of them."""
    weight, bias = params["weight"], params["bias"]
    match mistake:
        case "transposed":
            weight = weight.swapaxes(0, 1)
        case "rows and columns exchanged":
            weight = weight.swapaxes(2, 3)
        case "flipped":
            weight = weight[:, :, ::-1, ::-1]
        case "outputs reversed":
            weight = weight[::-1]
        case "no bias":
            bias = jnp.zeros_like(bias)
        case "bias twice":
            bias = bias + bias
    return rounded(weight, mistake), bias


def rounded(x: Array, mistake: str) -> Array:
    """Return an operand of a product as a device takes it: TF32 is for float32 only."""
    if mistake == "TF32" and x.dtype == jnp.float32:
        return reduced(x, 10)
    return reduced(x, 7) if mistake == "bfloat16" else x


def linear(params: Params, x: Array, mistake: str = "") -> Array:
    """`nn.Linear`."""
    weight, bias = weights(params, mistake)
    y = rounded(x, mistake) @ weight.T
    return y + jnp.broadcast_to(bias, y.shape)


def conv2d(
    params: Params, x: Array, *, stride: int = 1, padding: int = 1, mistake: str = ""
) -> Array:
    """`nn.Conv2d`, images in NCHW."""
    weight, bias = weights(params, mistake)
    x = rounded(x, mistake)
    around: Any = [(padding, padding)] * 2
    if mistake == "SAME":
        around = "SAME"
    elif mistake in ("edge", "reflect", "wrap"):
        x = jnp.pad(x, [(0, 0), (0, 0), *around], mode=mistake)
        around = "VALID"
    y = lax.conv_general_dilated(x, weight, (stride, stride), around)
    return y + jnp.broadcast_to(bias[:, None, None], y.shape)


def relu(x: Array, mistake: str = "") -> Array:
    """`nn.ReLU`, whose gradient at 0 is 0."""
    match mistake:
        case "maximum":
            return jnp.maximum(x, jnp.zeros_like(x))
        case "where":
            return jnp.where(x >= 0, x, jnp.zeros_like(x))
        case "mean with its magnitude":
            return (x + jnp.abs(x)) / 2
    return jax.nn.relu(x)


def max_pool2d(x: Array, mistake: str = "") -> Array:
    """`nn.MaxPool2d(2)`, whose gradient goes to the first of equal maxima."""
    count, channels, height, width = x.shape
    windows = x.reshape(count, channels, height // 2, 2, width // 2, 2)
    match mistake:
        case "reshape and max":
            return windows.max((3, 5))
        case "pairs":
            rows = jnp.maximum(windows[:, :, :, 0], windows[:, :, :, 1])
            return jnp.maximum(rows[..., 0], rows[..., 1])
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def batch_norm(params: Params, x: Array, mistake: str = "") -> tuple[Array, dict[str, Array]]:
    """`nn.BatchNorm1d` in training, and its new running mean and variance."""
    mean, variance, count = x.mean(0), x.var(0), len(x)
    unbiased = variance * (count / (count - 1))
    momentum, epsilon, kept, used = 0.1, 1e-5, unbiased, variance
    match mistake:
        case "momentum of what is kept":
            momentum = 0.9
        case "Flax's momentum":
            momentum = 0.01
        case "Keras's epsilon":
            epsilon = 1e-3
        case "biased variance kept":
            kept = variance
        case "unbiased variance used":
            used = unbiased
    running = {
        "running_mean": (1 - momentum) * params["running_mean"] + momentum * mean,
        "running_var": (1 - momentum) * params["running_var"] + momentum * kept,
    }
    if mistake == "running statistics used":
        mean, used = params["running_mean"], params["running_var"]
    return affine(params, (x - mean[None]) * lax.rsqrt(used + epsilon)[None]), running


def layer_norm(params: Params, x: Array, mistake: str = "") -> Array:
    """`nn.LayerNorm` over the last axis."""
    epsilon = 1e-6 if mistake == "Flax's epsilon" else 1e-5
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return affine(params, centred * lax.rsqrt(variance + epsilon))


def affine(params: Params, x: Array) -> Array:
    """Return `x` scaled and shifted, feature by feature."""
    weight, bias = (jnp.broadcast_to(params[name], x.shape) for name in ("weight", "bias"))
    return weight * x + bias


def mean_squared_error(output: Array, target: Array, mistake: str = "") -> Array:
    """`nn.MSELoss`."""
    errors = (output - target) ** 2
    match mistake:
        case "sum":
            return errors.sum()
        case "sum over features":
            return errors.sum(-1).mean()
        case "half":
            return errors.mean() / 2
    return errors.mean()


def cross_entropy(scores: Array, target: Array, mistake: str = "") -> Array:
    """`nn.CrossEntropyLoss` of class indices."""
    if mistake == "softmax twice":
        scores = jax.nn.softmax(scores)
    log_probabilities = jax.nn.log_softmax(scores, axis=0 if mistake == "over the batch" else 1)
    losses = -jnp.take_along_axis(log_probabilities, target[:, None], axis=1)
    return losses.sum() if mistake == "sum" else losses.mean()
