"""What PyTorch's layers compute, of their arrays and settings under PyTorch's own names."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

import fgrad.functional as F
from fgrad.parity.recording import NumPy
from fgrad.types import Array, ArrayLike

Setting: TypeAlias = Any
"""Whatever PyTorch's module has under a name."""

Arguments: TypeAlias = dict[str, Any]
"""A formula's arguments by name; what it has no use for, it leaves alone."""

Formula: TypeAlias = Callable[..., ArrayLike]


def computed(formula: Formula, arguments: Arguments) -> NumPy:
    """Return what a formula gives, in its arguments' precision, whatever the session's settings.

    Args:
        formula: The formula.
        arguments: Its arguments.

    Returns:
        Its value.

    Example:
        >>> computed(linear, {"x": np.ones((1, 2)), "weight": np.ones((1, 2)), "bias": np.ones(1)})
        array([[3.]])
    """
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision("highest"),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        np.errstate(all="ignore"),
    ):
        return np.asarray(formula(**arguments))


def linear(x: NumPy, weight: NumPy, bias: NumPy | None = None, **_: Setting) -> Array:
    """A linear layer."""
    return F.linear(x, weight, bias)


_PAD_MODES = {"replicate": "edge", "circular": "wrap"}  # NumPy's names


def conv(
    x: NumPy,
    weight: NumPy,
    bias: NumPy | None = None,
    *,
    stride: tuple[int, ...],
    padding: Setting,
    padding_mode: Setting,
    dilation: tuple[int, ...],
    groups: int,
    **_: Setting,
) -> Array:
    """A convolution over any number of axes, its padding a number or a pair for each.

    By `lax`, since `fgrad.functional` has it over two axes, padded as PyTorch can pad.
    """
    if not isinstance(padding, str):
        padding = [(p, p) if isinstance(p, int) else p for p in padding]
        if padding_mode != "zeros":
            mode: Setting = _PAD_MODES.get(padding_mode, padding_mode)
            x, padding = np.pad(x, [(0, 0), (0, 0), *padding], mode=mode), "valid"
    y = lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(weight),
        stride,
        padding.upper() if isinstance(padding, str) else padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
    )
    return y if bias is None else y + bias.reshape(-1, *[1] * (x.ndim - 2))


def norm(
    x: NumPy,
    weight: npt.ArrayLike = 1.0,
    bias: npt.ArrayLike = 0.0,
    *,
    kind: str,
    eps: float | None,
    training: bool,
    running_mean: NumPy | None = None,
    running_var: NumPy | None = None,
    normalized_shape: tuple[int, ...] = (),
    unbiased: bool = False,
    eps_outside: bool = False,
    **_: Setting,
) -> NumPy:
    """A normalisation: of each channel over the others for BatchNorm, else of the last axes."""
    of_channels = kind.startswith("BatchNorm")
    axes = (0, *range(2, x.ndim)) if of_channels else tuple(range(-len(normalized_shape), 0))

    def aligned(value: npt.ArrayLike) -> NumPy:
        # (3,) is a channel's entry in (N, 3, H, W): as (3, 1, 1) it meets its own channel.
        return np.reshape(value, (-1, *[1] * (x.ndim - 2))) if of_channels else np.asarray(value)

    if of_channels and not training and running_mean is not None and running_var is not None:
        mean, variance = aligned(running_mean), aligned(running_var)
    else:
        mean = np.zeros_like(x[:1]) if kind == "RMSNorm" else x.mean(axes, keepdims=True)
        variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    if unbiased:
        count = x.size // variance.size
        variance = variance * np.asarray(count / max(count - 1, 1), x.dtype)
    # RMSNorm's own epsilon is its precision's.
    small = np.asarray(np.finfo(x.dtype).eps if eps is None else eps, x.dtype)
    deviation = np.sqrt(variance) + small if eps_outside else np.sqrt(variance + small)
    y = (x - mean) / deviation * aligned(weight) + aligned(bias)
    return y.astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "ReLU": F.relu,
    "GELU": F.gelu,
    "Tanh": F.tanh,
    "Sigmoid": F.sigmoid,
    "SiLU": jax.nn.silu,
    "Softplus": jax.nn.softplus,
    "ELU": jax.nn.elu,
    "LeakyReLU of slope 0.01": F.leaky_relu,
    "LeakyReLU of slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "ReLU6": jax.nn.relu6,
    "Identity": lambda x: x,
}


def activation(x: NumPy, kind: str, approximate: str = "none", **_: Setting) -> Array:
    """A function of every element; GELU is x times the normal distribution's, or near it."""
    values = jnp.asarray(x)
    if kind == "GELU" and approximate == "sigmoid":  # within 0.02 of it
        return values * F.sigmoid(1.702 * values)
    if kind == "GELU":
        return F.gelu(values, approximate)
    return ACTIVATIONS[kind](values)


def softmax(x: NumPy, kind: str, dim: int | None, scale: float = 1.0, **_: Setting) -> Array:
    """A softmax, or its logarithm, of scores that are scaled."""
    if dim is None:  # as PyTorch chooses
        dim = 0 if x.ndim in (0, 1, 3) else 1
    return (F.log_softmax if kind == "LogSoftmax" else F.softmax)(jnp.asarray(x) * scale, dim)


def dropout(x: NumPy, mask: npt.ArrayLike, **_: Setting) -> NumPy:
    """What dropout keeps: a mask of 0 and 1 / (1 - p) in training, 1 in evaluation."""
    return x * np.asarray(mask, x.dtype)


def pool(x: NumPy, kind: str, count_include_pad: bool = True, **config: Setting) -> Array:
    """The maximum, the mean or the sum of every window."""
    names = ("kernel_size", "stride", "padding", "ceil_mode")
    window = {name: config[name] for name in names}
    if kind == "MaxPool2d":
        return F.max_pool2d(x, dilation=config.get("dilation", 1), **window)
    divisor = 1 if kind == "sum" else None
    return F.avg_pool2d(x, count_include_pad=count_include_pad, divisor_override=divisor, **window)


def shifted(y: NumPy, bias: NumPy, times: int) -> NumPy:
    """A layer of any kind, from its output, in which its bias is once."""
    return y + (times - 1) * bias
