"""Convolution of images, alone or together with what often comes after it."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from fgrad import _checks
from fgrad._checks import IntPair
from fgrad.functional import _cpu
from fgrad.functional._sliding import Sliding, spans
from fgrad.functional.activations import relu
from fgrad.functional.pooling import max_pool2d
from fgrad.types import Array, ArrayLike


def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: IntPair = 1,
    padding: IntPair | str = 0,
    dilation: IntPair = 1,
    groups: int = 1,
) -> Array:
    r"""Slide each filter over an image, and sum the products.

    $$y_{o,i,j} = b_o + \sum_{c,k,l} w_{o,c,k,l}\, x_{c,\; s i + d k - p,\; s j + d l - p}$$

    with $x = 0$ outside the image. (With groups, $c$ runs over the channels of $o$'s group.)

    On a CPU, a NaN or an infinity in `input` may make NaN of the outputs that see it and of those
    next to them, and an infinity in `weight` of those that see it.

    Args:
        input: $x$, of shape (N, C, H, W) or (C, H, W).
        weight: $w$, of shape (out_channels, C / groups, height, width).
        bias: $b$, of shape (out_channels,).
        stride: $s$, an integer or (vertical, horizontal), at least 1.
        padding: $p$, an integer or (vertical, horizontal), at least 0; or `"valid"` for none; or
            `"same"` for an output of `input`'s size, the odd row and column at the end, with a
            stride of 1.
        dilation: $d$, an integer or (vertical, horizontal), at least 1.
        groups: Into how many parts the channels are split, each convolved with its own filters.

    Returns:
        $y$, of shape (N, out_channels, H', W') or (out_channels, H', W'), with
        $H' = \lfloor (H + 2p - d (\mathrm{height} - 1) - 1) / s \rfloor + 1$.

    Raises:
        ValueError: If an argument is out of range, the shapes do not fit together, the filter is
            larger than the padded image, or the dtypes are not one floating-point type.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(9.0).reshape(1, 3, 3)
        >>> print(conv2d(image, jnp.ones((1, 1, 2, 2))))
        [[[ 8. 12.]
          [20. 24.]]]

    Source: `torch.nn.functional.conv2d`.
    """
    images, weight, bias, sliding = _checked(input, weight, bias, stride, padding, dilation, groups)
    output = _convolution(images, weight, bias, sliding)
    return output if jnp.ndim(input) == 4 else output[0]


def conv2d_relu_max_pool2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: IntPair = 1,
    padding: IntPair | str = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    pool_size: IntPair,
) -> Array:
    r"""Return `max_pool2d(relu(conv2d(input, weight, bias, ...)), pool_size)`, faster on a CPU.

    The values and gradients are the same, made as one: all outputs that a pooling window looks at
    come from one patch of the image, and are never laid out as an image. On a CPU, three notes.
    Without derivatives the sums may be rounded in another order than with them. What is not finite
    spreads as in `conv2d`. And where 3x3 filters see many channels, outputs that would be equal may
    differ by their rounding, so that another of them gets a window's gradient.

    Args:
        input: An array of shape (N, C, H, W) or (C, H, W).
        weight: As for `conv2d`.
        bias: As for `conv2d`.
        stride: As for `conv2d`.
        padding: As for `conv2d`.
        dilation: As for `conv2d`.
        groups: As for `conv2d`.
        pool_size: The pooling windows, side by side, an integer or (height, width), at least 1.

    Returns:
        An array of shape (N, out_channels, H', W') or (out_channels, H', W'), with $H'$ the
        convolution's divided by the window's height and rounded down.

    Raises:
        ValueError: If `conv2d` refuses the arguments, or `pool_size` is out of range or larger
            than the convolution's output.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(25.0).reshape(1, 5, 5)
        >>> print(conv2d_relu_max_pool2d(image, jnp.ones((1, 1, 2, 2)), pool_size=2))
        [[[36. 44.]
          [76. 84.]]]

    Source: `torch.nn.functional`'s `conv2d`, `relu` and `max_pool2d`.
    """
    images, weight, bias, sliding = _checked(input, weight, bias, stride, padding, dilation, groups)
    window = _checks.pair("pool_size", pool_size, at_least=1)
    sizes = sliding.output_sizes(images, weight)
    if any(size < pool for size, pool in zip(sizes, window, strict=True)):
        raise ValueError(
            f"pool_size: expected at most the convolution's output, {sizes}, got {window}"
        )
    output = _pooled_convolution(images, weight, bias, sliding, window)
    return output if jnp.ndim(input) == 4 else output[0]


def _checked(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: IntPair,
    padding: IntPair | str,
    dilation: IntPair,
    groups: int,
) -> tuple[Array, Array, Array | None, Sliding]:
    """Return a batch of images, the filters, the bias and how the filters slide."""
    input = _checks.images(input)
    weight = _checks.floating("weight", weight, dtype=input.dtype)
    strides = _checks.pair("stride", stride, at_least=1)
    dilations = _checks.pair("dilation", dilation, at_least=1)
    groups = _checks.integer("groups", groups, at_least=1)
    _check_channels(input, weight, groups)
    reach = spans(weight, dilations)
    pads = _padding(padding, strides, reach)
    for name, size, span, pad in zip(
        ("height", "width"), input.shape[-2:], reach, pads, strict=True
    ):
        if span > size + sum(pad):
            raise ValueError(
                f"weight: expected a dilated {name} of at most the padded input's, "
                f"{size + sum(pad)}, got {span}"
            )
    if bias is not None:
        bias = _checks.floating("bias", bias, dtype=input.dtype, shape=weight.shape[:1])
    images = input if input.ndim == 4 else input[None]
    return images, weight, bias, Sliding(strides, pads, dilations, groups)


def _check_channels(input: Array, weight: Array, groups: int) -> None:
    channels = input.shape[-3]
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(
            "weight: expected shape (out_channels, in_channels / groups, height, width), none of "
            f"them 0, got {weight.shape}"
        )
    if weight.shape[0] % groups:
        raise ValueError(
            f"groups: expected a divisor of weight's {weight.shape[0]} out_channels, got {groups}"
        )
    if weight.shape[1] * groups != channels:
        raise ValueError(
            f"input: expected {weight.shape[1] * groups} channels, as weight has "
            f"{weight.shape[1]} for each of {groups} groups, got {channels} in shape {input.shape}"
        )


def _padding(
    padding: IntPair | str, strides: tuple[int, int], spans: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many zeros go before and after, vertically and horizontally."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if strides != (1, 1):
            raise ValueError(f"padding: expected a number with stride {strides}, got 'same'")
        vertical, horizontal = spans
        return ((vertical - 1) // 2, vertical // 2), ((horizontal - 1) // 2, horizontal // 2)
    if isinstance(padding, str):
        raise ValueError(f"padding: expected a number, 'valid' or 'same', got {padding!r}")
    top, left = _checks.pair("padding", padding, at_least=0)
    return (top, top), (left, left)


@functools.partial(jax.jit, static_argnums=3)
def _convolution(images: Array, weight: Array, bias: Array | None, sliding: Sliding) -> Array:
    """Return the convolution of a batch, arguments known to be right."""

    def by_compiler(images: Array, weight: Array, bias: Array | None) -> Array:
        output = lax.conv_general_dilated(
            images,
            weight,
            sliding.strides,
            sliding.padding,
            rhs_dilation=sliding.dilation,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=sliding.groups,
        )
        if bias is None:
            return output
        # Its gradient is a sum over the images: in float32 for the half types.
        shifted = _checks.widen(output) + _checks.widen(bias)[None, :, None, None]
        return shifted.astype(images.dtype)

    if not _cpu.is_faster(images, weight, sliding):
        return by_compiler(images, weight, bias)
    by_fgrad = functools.partial(_cpu.convolve, sliding=sliding)
    return lax.platform_dependent(images, weight, bias, cpu=by_fgrad, default=by_compiler)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _pooled_convolution(
    images: Array, weight: Array, bias: Array | None, sliding: Sliding, window: tuple[int, int]
) -> Array:
    """Return the convolution of a batch, rectified and pooled, arguments known to be right."""

    def one_by_one(images: Array, weight: Array, bias: Array | None) -> Array:
        return max_pool2d(relu(_convolution(images, weight, bias, sliding)), window)

    if not _cpu.is_faster_pooled(images, sliding):
        return one_by_one(images, weight, bias)
    together = functools.partial(_cpu.pooled, sliding=sliding, window=window)
    return lax.platform_dependent(images, weight, bias, cpu=together, default=one_by_one)
