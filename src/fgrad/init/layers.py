"""The parameters of a new layer, as PyTorch's layers draw their own."""

import math

import jax
import numpy as np
import numpy.typing as npt

from fgrad import _checks
from fgrad.init.families import check_draw, kaiming_uniform, uniform
from fgrad.random import Generator, Rng
from fgrad.types import Array


def linear(
    rng: Rng,
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    dtype: npt.DTypeLike = np.float32,
) -> dict[str, Array]:
    r"""Return the parameters of a new `nn.Linear(in_features, out_features)`.

    Both are uniform in $\pm 1/\sqrt{\mathrm{in\_features}}$, the weight drawn first.

    Args:
        rng: A `Generator` for PyTorch's bits, or a `jax.random.key` for the same distribution.
        in_features: Size of an input, at least 1.
        out_features: Size of an output, at least 1.
        bias: Whether the layer has one.
        dtype: float32 or float64.

    Returns:
        `{"weight": (out_features, in_features)}`, and `"bias": (out_features,)` with it.

    Raises:
        ValueError: If `rng` is neither, a size is no integer or below 1, or `dtype` is another or
            not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(linear(Generator(0), 1, 1))
        {'weight': Array([[-0.00748682]], dtype=float32), 'bias': Array([0.5364436], dtype=float32)}

    Source: `torch.nn.Linear.reset_parameters`.
    """
    _check_positive(in_features=in_features, out_features=out_features)
    return _layer(rng, (out_features, in_features), bias, dtype)


def conv2d(
    rng: Rng,
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    groups: int = 1,
    bias: bool = True,
    dtype: npt.DTypeLike = np.float32,
) -> dict[str, Array]:
    r"""Return the parameters of a new `nn.Conv2d(in_channels, out_channels, kernel_size)`.

    Both are uniform in $\pm 1/\sqrt{n}$, where
    $n = \mathrm{in\_channels} / \mathrm{groups} \cdot k_h k_w$; the weight is drawn first.

    Args:
        rng: A `Generator` for PyTorch's bits, or a `jax.random.key` for the same distribution.
        in_channels: Channels of an input, a multiple of `groups`.
        out_channels: Channels of an output, a multiple of `groups`.
        kernel_size: Height and width of the kernel $k_h, k_w$, or one number for both.
        groups: Into how many groups the channels are divided.
        bias: Whether the layer has one.
        dtype: float32 or float64.

    Returns:
        `{"weight": (out_channels, in_channels // groups, kh, kw)}`, and
        `"bias": (out_channels,)` with it.

    Raises:
        ValueError: If `rng` is neither, a size is no integer or below 1, `kernel_size` is not one
            or two, the channels are no multiples of `groups`, or `dtype` is another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> params = conv2d(Generator(0), 1, 6, 5)
        >>> print(params["weight"].shape, params["bias"].shape, params["weight"][0, 0, 0, 0])
        (6, 1, 5, 5) (6,) -0.001497364

    Source: `torch.nn.Conv2d.reset_parameters`.
    """
    height, width = _checks.pair("kernel_size", kernel_size, at_least=1)
    _check_positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ValueError(f"{name}: expected a multiple of groups, {groups}, got {channels}")
    return _layer(rng, (out_channels, in_channels // groups, height, width), bias, dtype)


def _layer(rng: Rng, shape: tuple[int, ...], bias: bool, dtype: npt.DTypeLike) -> dict[str, Array]:
    shape = check_draw(rng, shape, dtype)
    weight_rng, bias_rng = (rng, rng) if isinstance(rng, Generator) else jax.random.split(rng)
    # The slope sqrt(5) makes the bound 1 / sqrt(fan_in), by PyTorch's own order of operations.
    params = {"weight": kaiming_uniform(weight_rng, shape, math.sqrt(5), dtype=dtype)}
    if bias:
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        params["bias"] = uniform(bias_rng, shape[:1], -bound, bound, dtype=dtype)
    return params


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        _checks.integer(name, size, at_least=1)
