"""Activations, softmax, dropout and pooling with a mistake in them."""

import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.causes.layer import Layer
from fgrad.parity.recording import NumPy


def _erf(x: NumPy) -> NumPy:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


_ACTIVATIONS: dict[str, Callable[[NumPy], NumPy]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "leaky_relu with slope 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
    "leaky_relu with slope 0.2": lambda x: np.where(x > 0, x, 0.2 * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "no function": lambda x: x,
}


OF_KIND = {
    "ReLU": "relu",
    "GELU": "gelu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
    "Softplus": "softplus",
    "ELU": "elu",
    "LeakyReLU": "",
    "ReLU6": "relu6",
}


def activation(layer: Layer) -> Iterator[Hypothesis]:
    """Yield other activations, and GELU by other formulas.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    x, place = layer.x, layer.call.place
    if layer.kind == "GELU":
        wants_tanh = layer.config.get("approximate") == "tanh"
        tanh = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        quick = x / (1 + np.exp(-1.702 * x))
        ours, theirs = ("erf", "tanh") if wants_tanh else ("tanh", "erf")
        for value, what in (
            (_ACTIVATIONS["gelu"](x) if wants_tanh else tanh, ours),
            (quick, "sigmoid"),
        ):
            yield Hypothesis(
                "GELU approximation",
                f"{place} is GELU by {what}, PyTorch's is by {theirs}",
                f"{place}: jax.nn.gelu(x, approximate={wants_tanh})",
                value,
            )
    for name, function in _ACTIVATIONS.items():
        if name != OF_KIND[layer.kind]:
            with np.errstate(over="ignore"):
                value = function(x).astype(x.dtype)
            missing = name == "no function"
            yield Hypothesis(
                "missing activation" if missing else "other activation",
                f"{place} is {'left out' if missing else name}, PyTorch has {layer.kind}",
                f"{place}: apply {layer.kind} to its input",
                value,
            )


def softmax(x: NumPy, axis: int) -> NumPy:
    """Return the softmax along an axis.

    Example:
        >>> softmax(np.zeros((1, 2)), 1)
        array([[0.5, 0.5]])
    """
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def softmax_layer(layer: Layer) -> Iterator[Hypothesis]:
    """Yield softmaxes over other axes, or of scores that are scaled otherwise.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    x, place = layer.x, layer.call.place
    axis = layer.config.get("dim")
    axis = (1 if x.ndim in (2, 4) else 0) if axis is None else axis % x.ndim
    log = layer.kind == "LogSoftmax"
    for other in range(x.ndim):
        if other != axis:
            value = softmax(x, other)
            yield Hypothesis(
                "softmax axis",
                f"{place} is over axis {other}, PyTorch's is over axis {axis}",
                f"{place}: axis={axis}",
                np.log(value) if log else value,
            )
    # Scores whose size is an attention's head: scaled by its root, or by it, or not at all.
    for size in (2, 4, 8, 16, 32, 64, 128, 256, 3, 6, 12, 24, 48, 96, 192):
        for factor in (size**0.5, size**-0.5, float(size), 1 / size):
            value = softmax(x * np.asarray(factor, x.dtype), axis)
            yield Hypothesis(
                "attention scale",
                f"{place}'s scores are {factor:.6g} times PyTorch's",
                f"{place}: multiply its scores by {1 / factor:.6g}",
                np.log(value) if log else value,
            )
    for factor in (10.0, 0.1):
        yield Hypothesis(
            "attention scale",
            f"{place}'s scores are {factor:g} times PyTorch's",
            f"{place}: multiply its scores by {1 / factor:g}",
            softmax(x * np.asarray(factor, x.dtype), axis),
        )


def dropout(layer: Layer) -> Iterator[Hypothesis]:
    """Yield dropout in the other mode, or scaled otherwise.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    x, place, p = layer.x, layer.call.place, layer.config["p"]
    mask = layer.step.masks.get(place)
    if mask is None:
        if 0 < p < 1:
            yield Hypothesis(
                "dropout mode",
                f"{place} scales its input by 1 / (1 - {p:g}), PyTorch was in evaluation",
                f"{place}: pass its input on, as in eval()",
                x / np.asarray(1 - p, x.dtype),
            )
        return
    for value, what, fix in (
        (x, "passes its input on, as in evaluation", "multiply with its mask, as in train()"),
        (x * (mask != 0), "does not scale what it keeps", f"divide what is kept by 1 - {p:g}"),
        (x * (mask == 0) / (p or 1), "keeps what PyTorch drops", "use the recorded mask as it is"),
        (x * np.asarray(1 - p, x.dtype), "scales by 1 - p", "multiply with its mask"),
    ):
        yield Hypothesis("dropout mode", f"{place} {what}", f"{place}: {fix}", value)


def pool(layer: Layer) -> Iterator[Hypothesis]:
    """Yield other ways to pool a window.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    x, place, config = layer.x, layer.call.place, layer.config
    if x.ndim != 4 or "kernel_size" not in config:
        return
    size, stride, padding = (_pair(config.get(key)) for key in ("kernel_size", "stride", "padding"))
    stride = stride or size
    window, strides = (1, 1, *size), (1, 1, *(stride or size))
    around = [(0, 0), (0, 0), *[(p, p) for p in (padding or (0, 0))]]
    is_max = layer.kind.startswith("Max")
    with jax.enable_x64(x.dtype == np.float64):
        array = jnp.asarray(x)
        largest = lax.reduce_window(array, -jnp.inf, lax.max, window, strides, around)
        total = lax.reduce_window(array, 0.0, lax.add, window, strides, around)
        inside = lax.reduce_window(jnp.ones_like(array), 0.0, lax.add, window, strides, around)
        largest, total, inside = map(np.asarray, (largest, total, inside))
    if is_max:
        found = [(total / math.prod(size), "the mean of every window"), (total, "the sum")]
    else:
        found = [(largest, "the maximum of every window"), (total, "the sum of every window")]
        including = config.get("count_include_pad", True)
        other = total / inside if including else total / math.prod(size)
        found.append((other, "the mean with padding counted otherwise"))
    for value, what in found:
        yield Hypothesis(
            "pooling",
            f"{place} takes {what}, PyTorch has {layer.kind}",
            f"{place}: take what {layer.kind} takes",
            value,
        )


def _pair(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value, value)
