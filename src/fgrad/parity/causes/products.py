"""Linear layers and convolutions with a mistake in them."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.causes.layer import Layer
from fgrad.parity.recording import NumPy

_MANTISSAS = {7: "bfloat16", 10: "TF32 or float16"}


Around: TypeAlias = Any


def rounded(value: NumPy, bits: int) -> NumPy:
    """Return numbers rounded to so many bits of mantissa.

    Example:
        >>> rounded(np.float32([1.001]), 7)
        array([1.], dtype=float32)
    """
    mantissa, exponent = np.frexp(value)
    scaled = np.ldexp(mantissa, bits + 1)
    return np.ldexp(np.rint(scaled), exponent - bits - 1).astype(value.dtype)


def linear(layer: Layer) -> Iterator[Hypothesis]:
    """Yield a linear layer with a mistake in its weight, bias or input.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    weight, x, place = layer.entries["weight"], layer.x, layer.call.place
    bias = layer.entries.get("bias", np.zeros(1, weight.dtype))
    if weight.shape[0] == weight.shape[1]:
        yield Hypothesis(
            "transposed weight",
            f"{place} computes x @ weight in place of x @ weight.T",
            f"{place}: PyTorch's weight is (out, in): transpose it",
            x @ weight + bias,
        )
    for call in layer.step.calls:
        if call.outputs and (order := _image_order(call.outputs[0], weight.shape[1])) is not None:
            channels = call.outputs[0].shape[1]
            explanation = f"{place} takes the pixels of {call.place} in another order than PyTorch"
            fix = f"flatten {call.place} with channels first, (N, {channels}, height, width)"
            yield Hypothesis("flatten order", explanation, fix, x[..., order] @ weight.T + bias)
            inverse = np.argsort(order)
            yield Hypothesis("flatten order", explanation, fix, x[..., inverse] @ weight.T + bias)
    yield Hypothesis(
        "permuted weight",
        f"{place}'s outputs are in reverse order",
        f"{place}: keep the order of the weight's rows",
        x @ weight[::-1].T + bias,
    )
    yield Hypothesis(
        "permuted weight",
        f"{place}'s inputs are in reverse order",
        f"{place}: keep the order of the weight's columns",
        x @ weight[:, ::-1].T + bias,
    )
    yield from _precision(layer, lambda x, weight: x @ weight.T + bias)


def _image_order(image: NumPy, features: int) -> NumPy | None:
    """Return where a flattened channels-first image's numbers are in a channels-last one."""
    if image.ndim < 4 or math.prod(image.shape[1:]) != features or image.shape[1] == 1:
        return None
    return np.moveaxis(np.arange(features).reshape(image.shape[1:]), 0, -1).ravel()


def _precision(layer: Layer, compute: Callable[[NumPy, NumPy], NumPy]) -> Iterator[Hypothesis]:
    """Yield the products of rounded operands."""
    weight = layer.entries["weight"]
    for bits, kind in _MANTISSAS.items():
        for both in (True, False):
            x = rounded(layer.x, bits) if both else layer.x
            yield Hypothesis(
                "reduced precision",
                f"{layer.call.place} is computed from numbers rounded to {kind}",
                f"{layer.call.place}: ask for jax.default_matmul_precision('highest'), "
                "and for no cast to fewer bits",
                compute(x, rounded(weight, bits)),
                slack=0.05,
            )


def conv(layer: Layer) -> Iterator[Hypothesis]:
    """Yield a convolution with a mistake in its kernel, padding or bias.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    weight, x, place = layer.entries["weight"], layer.x, layer.call.place
    config = layer.config
    spatial = weight.ndim - 2
    bias = layer.entries.get("bias", np.zeros(weight.shape[0], weight.dtype))
    bias = bias.reshape(-1, *[1] * spatial)
    padding = config.get("padding", 0)
    if isinstance(padding, str):
        around: Any = padding.upper()
    else:
        around = [(size, size) for size in padding]

    def compute(x: NumPy, weight: NumPy, around: Around = around) -> NumPy:
        with jax.enable_x64(x.dtype == np.float64), jax.default_matmul_precision("highest"):
            y = lax.conv_general_dilated(
                jnp.asarray(x),
                jnp.asarray(weight),
                tuple(config["stride"]),
                around,
                rhs_dilation=tuple(config["dilation"]),
                feature_group_count=config["groups"],
            )
            return np.asarray(y) + bias

    if x.ndim != weight.ndim:
        return
    axes = tuple(range(2, weight.ndim))
    yield Hypothesis(
        "flipped kernel",
        f"{place} is a convolution with its filters turned around; PyTorch's is a correlation",
        f"{place}: do not flip the kernel",
        compute(x, np.flip(weight, axes)),
    )
    swaps = [("channels in and out", 0, 1), ("rows and columns", -2, -1)]
    for what, one, other in swaps[: spatial if spatial < 2 else 2]:
        if weight.shape[one] == weight.shape[other]:
            yield Hypothesis(
                "transposed weight",
                f"{place}'s kernel has its {what} exchanged",
                f"{place}: PyTorch's weight is (out, in, height, width)",
                compute(x, np.swapaxes(weight, one, other)),
            )
    if isinstance(around, list):
        fix = f"{place}: pad with zeros, {[size for size, _ in around]} on either side"
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            widths = [(0, 0), (0, 0), *around]
            explanation = f"{place} pads its input with numpy's mode {mode!r}, and not with zeros"
            if any(low for low, _ in around):
                try:
                    padded = np.pad(x, widths, mode=mode)
                except ValueError:  # more than there is to repeat
                    continue
                yield Hypothesis("padding", explanation, fix, compute(padded, weight, "VALID"))
        yield Hypothesis(
            "padding", f"{place} is padded as 'SAME' pads", fix, compute(x, weight, "SAME")
        )
        yield Hypothesis("padding", f"{place} is not padded", fix, compute(x, weight, "VALID"))
        low = [(2 * a, 0) for a, _ in around]
        high = [(0, 2 * a) for a, _ in around]
        for sides, what in ((low, "before"), (high, "after")):
            explanation = f"{place} is padded {what} its input only"
            yield Hypothesis("padding", explanation, fix, compute(x, weight, sides))
    yield from _precision(layer, compute)
