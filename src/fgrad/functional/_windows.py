"""How a pooling window slides over an image, one axis at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from fgrad import _checks
from fgrad._checks import IntPair
from fgrad.types import Array


class Windows(NamedTuple):
    """The windows along one axis.

    Attributes:
        size: The length of the axis.
        kernel: How many elements a window sees.
        stride: From one window to the next.
        padding: How far the first window starts before the axis, and the last may end after it.
        dilation: From one element of a window to the next.
        outputs: How many windows there are.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    outputs: int

    def positions(self) -> npt.NDArray[np.int64]:
        """Return what each window sees, of shape (outputs, kernel), positions outside included."""
        starts = np.arange(self.outputs) * self.stride - self.padding
        return starts[:, None] + np.arange(self.kernel) * self.dilation

    def pad(self, values: Array, axis: int, fill: float) -> Array:
        """Return the axis with all that a window sees, and nothing more."""
        end = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        edges = [(0, 0, 0)] * values.ndim
        edges[axis] = (self.padding, end - self.padding - self.size, 0)
        return lax.pad(values, jnp.asarray(fill, values.dtype), edges)

    def taps(self, values: Array, axis: int) -> Iterator[Array]:
        """Yield what all windows see first, then what they see second, and so on."""
        padded = self.pad(values, axis, 0)
        last = (self.outputs - 1) * self.stride
        for offset in range(0, self.kernel * self.dilation, self.dilation):
            yield lax.slice_in_dim(padded, offset, offset + last + 1, self.stride, axis)


def sliding_windows(
    sizes: tuple[int, ...],
    kernel_size: IntPair,
    stride: IntPair | None,
    padding: IntPair,
    dilation: IntPair,
    ceil_mode: bool,
) -> tuple[Windows, ...]:
    """Return the windows over the rows and over the columns, arguments checked."""
    kernels = _checks.pair("kernel_size", kernel_size, at_least=1)
    if stride is None or (isinstance(stride, Sequence) and not stride):  # PyTorch's own default
        strides = kernels
    else:
        strides = _checks.pair("stride", stride, at_least=1)
    paddings = _checks.pair("padding", padding, at_least=0)
    dilations = _checks.pair("dilation", dilation, at_least=1)
    _checks.flag("ceil_mode", ceil_mode)
    for pad, kernel in zip(paddings, kernels, strict=True):
        if pad > kernel // 2:
            raise ValueError(
                f"padding: expected at most half of kernel_size, {kernels}, got {paddings}"
            )
    axes = zip(sizes, kernels, strides, paddings, dilations, strict=True)
    windows = tuple(Windows(*axis, outputs=_count(*axis, ceil_mode)) for axis in axes)
    if any(axis.outputs < 1 for axis in windows):
        raise ValueError(
            f"kernel_size: expected a window, dilated, of at most the padded input's {sizes}, got "
            f"{kernels} with padding {paddings} and dilation {dilations}"
        )
    return windows


def _count(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """Return how many windows fit; in ceil mode, also one for what these leave over."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count
