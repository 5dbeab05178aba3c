"""Convolution of images."""

from jax import lax

from fgrad.functional import _checks
from fgrad.functional._checks import IntPair
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
    input = _checks.images(input)
    weight = _checks.floating("weight", weight, dtype=input.dtype)
    strides = _checks.pair("stride", stride, at_least=1)
    dilations = _checks.pair("dilation", dilation, at_least=1)
    groups = _checks.integer("groups", groups, at_least=1)
    _check_channels(input, weight, groups)
    spans = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True))
    pads = _padding(padding, strides, spans)
    for name, size, span, pad in zip(
        ("height", "width"), input.shape[-2:], spans, pads, strict=True
    ):
        if span > size + sum(pad):
            raise ValueError(
                f"weight: expected a dilated {name} of at most the padded input's, "
                f"{size + sum(pad)}, got {span}"
            )
    if bias is not None:
        bias = _checks.floating("bias", bias, dtype=input.dtype, shape=weight.shape[:1])
    batch = input if input.ndim == 4 else input[None]
    output = _convolve(batch, weight, strides, pads, dilations, groups)
    if bias is not None:
        # Its gradient is a sum over the images: in float32 for the half types.
        shifted = _checks.widen(output) + _checks.widen(bias)[None, :, None, None]
        output = shifted.astype(input.dtype)
    return output if input.ndim == 4 else output[0]


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
    padding: IntPair | str, strides: tuple[int, int], spans: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return how many zeros go before and after, vertically and horizontally."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if strides != (1, 1):
            raise ValueError(f"padding: expected a number with stride {strides}, got 'same'")
        return tuple(((span - 1) // 2, span // 2) for span in spans)
    if isinstance(padding, str):
        raise ValueError(f"padding: expected a number, 'valid' or 'same', got {padding!r}")
    vertical, horizontal = _checks.pair("padding", padding, at_least=0)
    return (vertical, vertical), (horizontal, horizontal)


def _convolve(
    input: Array,
    weight: Array,
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """Return the convolution of a batch of images, arguments known to be right."""
    return lax.conv_general_dilated(
        input,
        weight,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=groups,
    )
