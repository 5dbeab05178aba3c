"""Normalisations with a mistake in them."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.causes.layer import Layer
from fgrad.parity.recording import NumPy

EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0.0)


def _norm(
    layer: Layer, x: NumPy, axes: tuple[int, ...], per: tuple[int, ...], centre: bool = True
) -> Iterator[Hypothesis]:
    """Yield a normalisation over `axes` with a mistake; the weights lie along the axes `per`."""
    place, eps = layer.call.place, layer.config.get("eps") or 1e-5
    shape = [size if axis in per else 1 for axis, size in enumerate(x.shape)]

    def entry(name: str, otherwise: float) -> NumPy:
        value = layer.entries.get(name)
        return np.full([1] * x.ndim, otherwise, x.dtype) if value is None else value.reshape(shape)

    weight, bias = entry("weight", 1.0), entry("bias", 0.0)
    mean = x.mean(axes, keepdims=True) if centre else np.zeros_like(x[:1])
    centred = x - mean
    count = math.prod(x.shape[axis] for axis in axes)
    variance = (centred**2).mean(axes, keepdims=True)

    def affine(value: NumPy) -> NumPy:
        return (value * weight + bias).reshape(layer.y.shape)

    for other in EPSILONS:
        if other != eps:
            yield Hypothesis(
                "default epsilon",
                f"{place} has epsilon {other:g}, PyTorch's has {eps:g}",
                f"{place}: pass epsilon={eps:g}",
                affine(centred / np.sqrt(variance + np.asarray(other, x.dtype))),
            )
    root = np.sqrt(variance)
    yield Hypothesis(
        "default epsilon",
        f"{place} adds epsilon to the standard deviation, and not to the variance",
        f"{place}: divide by sqrt(variance + {eps:g})",
        affine(centred / (root + np.asarray(eps, x.dtype))),
    )
    if count > 1:
        unbiased = variance * (count / (count - 1))
        yield Hypothesis(
            "biased variance",
            f"{place} divides by the unbiased variance, over {count} - 1",
            f"{place}: normalise with the biased variance, over {count}",
            affine(centred / np.sqrt(unbiased + np.asarray(eps, x.dtype))),
        )
    yield Hypothesis(
        "missing scale",
        f"{place} does not multiply with its weight",
        f"{place}: multiply with its weight before its bias is added",
        (centred / np.sqrt(variance + np.asarray(eps, x.dtype)) + bias).reshape(layer.y.shape),
    )


def batch_norm(layer: Layer) -> Iterator[Hypothesis]:
    """Yield BatchNorm with a mistake, or in the other mode.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    x, place = layer.x, layer.call.place
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    eps = layer.config["eps"]
    weight = layer.entries.get("weight", np.ones(x.shape[1], x.dtype)).reshape(shape)
    bias = layer.entries.get("bias", np.zeros(x.shape[1], x.dtype)).reshape(shape)

    def normalised(mean: NumPy, variance: NumPy, eps: float = eps) -> NumPy:
        return (x - mean) / np.sqrt(variance + np.asarray(eps, x.dtype)) * weight + bias

    def running(entries: Mapping[str, NumPy]) -> tuple[NumPy, NumPy]:
        return entries["running_mean"].reshape(shape), entries["running_var"].reshape(shape)

    training = layer.config["training"]
    if training or "running_mean" not in layer.entries:
        yield from _norm(layer, x, axes, (1,))
    else:
        for other in EPSILONS:
            if other != eps:
                yield Hypothesis(
                    "default epsilon",
                    f"{place} has epsilon {other:g}, PyTorch's has {eps:g}",
                    f"{place}: pass epsilon={eps:g}",
                    normalised(*running(layer.entries), other),
                )
    if training and "running_mean" in layer.entries:
        after = {
            name.rpartition(".")[2]: value
            for name, value in layer.step.after.items()
            if name.rpartition(".")[0] == layer.call.module
        }
        for entries, which in (
            (layer.entries, "running statistics, as in evaluation"),
            (after, "new running statistics"),
        ):
            yield Hypothesis(
                "BatchNorm mode",
                f"{place} uses its {which}; PyTorch was in training",
                f"{place}: normalise with the batch's own mean and variance, as in train()",
                normalised(*running(entries)),
            )
    elif not training:
        yield Hypothesis(
            "BatchNorm mode",
            f"{place} uses the batch's statistics, as in training; PyTorch was in evaluation",
            f"{place}: normalise with the running mean and variance, as in eval()",
            normalised(x.mean(axes, keepdims=True), x.var(axes, keepdims=True)),
        )


def layer_norm(layer: Layer) -> Iterator[Hypothesis]:
    """Yield LayerNorm with a mistake.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    count = len(layer.config["normalized_shape"])
    axes = tuple(range(layer.x.ndim - count, layer.x.ndim))
    yield from _norm(layer, layer.x, axes, axes)


def rms_norm(layer: Layer) -> Iterator[Hypothesis]:
    """Yield RMSNorm with a mistake.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    count = len(layer.config["normalized_shape"])
    axes = tuple(range(layer.x.ndim - count, layer.x.ndim))
    yield from _norm(layer, layer.x, axes, axes, centre=False)
