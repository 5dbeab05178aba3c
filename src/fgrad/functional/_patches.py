"""Convolution as one product of matrices, the way that a CPU does it fast.

Inside, images have the batch as their last axis, so that the processor's lanes run over it. What
the filters see is laid out as the columns of a matrix (im2col), a patch a column. A patch may be
larger than a filter: it then yields a block of neighbouring outputs, each with the filter moved to
its place in the patch and zeros around. So there are fewer columns to write and to read, for
somewhat more arithmetic; and where the block is a pooling window, the rows of the product are the
places of the window, and pooling is the maximum of a few slabs.

Nothing is differentiated by hand. Where the fast way to a value has a slow transpose, a
`jax.custom_jvp` says the same value's tangent in operations whose transpose is fast.
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from fgrad.types import Array


class Axis(NamedTuple):
    """How filters, and patches of them, slide along one axis.

    Attributes:
        size: The length of the axis.
        kernel: The filter's.
        stride: From one output to the next.
        padding: How many zeros go before the axis.
        outputs: How many outputs to make.
        block: How many neighbouring outputs one patch yields, a divisor of `outputs`.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    outputs: int
    block: int = 1

    @property
    def step(self) -> int:
        """From one patch to the next."""
        return self.stride * self.block

    @property
    def steps(self) -> int:
        """How many steps long a patch is."""
        return -(-(self.kernel + (self.block - 1) * self.stride) // self.step)

    @property
    def patches(self) -> int:
        """How many patches there are."""
        return self.outputs // self.block

    @property
    def edges(self) -> tuple[int, int, int]:
        """`lax.pad`'s numbers for all that the patches see, and no more."""
        end = self.step * (self.patches + self.steps - 1) - self.padding - self.size
        return self.padding, end, 0


def in_blocks(
    out_channels: int, in_channels: int, rows: Axis, columns: Axis, window: tuple[int, int]
) -> tuple[Axis, Axis]:
    """Return the axes with the blocks that cost the least time.

    Args:
        out_channels: How many filters there are.
        in_channels: How many channels they see.
        rows: The vertical axis.
        columns: The horizontal axis.
        window: The windows that the outputs are pooled by.
    """

    def cost(axes: tuple[Axis, Axis]) -> int:
        patches = math.prod(axis.patches for axis in axes)
        length = in_channels * math.prod(axis.steps * axis.step for axis in axes)
        filters = out_channels * math.prod(axis.block for axis in axes)
        # A number of a patch takes as long to write and to read as 48 multiply-adds with it.
        return patches * length * (filters + 48)

    vertical, horizontal = (
        [axis._replace(block=block) for block in (1, pool, 2 * pool) if axis.outputs % block == 0]
        for axis, pool in zip((rows, columns), window, strict=True)
    )
    return min(((down, across) for down in vertical for across in horizontal), key=cost)


def batch_last(images: Array) -> Array:
    """Return images (N, C, H, W) as (C, H, W, N)."""
    return _laid_out(images.transpose(1, 2, 3, 0))


def convolve(images: Array, weight: Array, rows: Axis, columns: Axis) -> Array:
    """Convolve images with the batch last.

    Args:
        images: Of shape (C, H, W, N).
        weight: Of shape (O, C, height, width).
        rows: The vertical axis.
        columns: The horizontal axis.

    Returns:
        The outputs, of shape (u, v, O, H / u, W / v, N), for blocks of height u and width v: place
        by place of the blocks, what all of them have there.
    """
    channels, *_, batch = images.shape
    zero = jnp.zeros((), images.dtype)
    padded = lax.pad(images, zero, ((0, 0, 0), rows.edges, columns.edges, (0, 0, 0)))
    steps = padded.reshape(
        channels, -1, rows.step, padded.shape[2] // columns.step, columns.step, batch
    )
    patches = _im2col(steps, rows, columns)
    filters = _filters(weight, rows, columns)
    product = _product(filters, patches.reshape(filters.shape[1], -1))
    shape = (rows.block, columns.block, weight.shape[0], rows.patches, columns.patches, batch)
    return _laid_out(product.reshape(shape))


def unblock(outputs: Array) -> Array:
    """Return the outputs of `convolve` as images (N, O, H, W)."""
    u, v, channels, height, width, batch = outputs.shape
    images = outputs.transpose(5, 2, 3, 0, 4, 1).reshape(batch, channels, height * u, width * v)
    return _laid_out(images, (1, 2, 3, 0))


def pooling_slabs(outputs: Array, window: tuple[int, int]) -> Array:
    """Return the outputs of `convolve`, window by window; block and window divide one another.

    Args:
        outputs: As from `convolve`.
        window: The height p and the width q of the pooling windows, side by side.

    Returns:
        An array of shape (p q, O, H', W', N): what all windows see first, what they see second, ...
    """
    u, v, channels, height, width, batch = outputs.shape
    # Of the block, the part within a window and how many windows; of the blocks, the same.
    (b, d), (f, h) = ((min(n, p), p // min(n, p)) for n, p in zip((u, v), window, strict=True))
    a, c, e, g = u // b, height // d, v // f, width // h
    places = outputs.reshape(a, b, e, f, channels, c, d, g, h, batch)
    places = places.transpose(6, 1, 8, 3, 4, 5, 0, 7, 2, 9)
    return places.reshape(window[0] * window[1], channels, c * a, g * e, batch)


@jax.custom_jvp
def first_maximum(slabs: Array, bias: Array) -> Array:
    """Return the maximum over the first axis, after a bias is added.

    The gradient goes to the first maximum; a NaN is above any number, and the last one counts.

    Args:
        slabs: Of shape (p q, O, H', W', N), as from `pooling_slabs`.
        bias: Of shape (1, O, 1, 1, 1).

    Returns:
        An array of shape (O, H', W', N).
    """
    shifted = slabs + bias
    return functools.reduce(jnp.maximum, shifted)


@first_maximum.defjvp
def _first_maximum_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    slabs, bias = primals
    # A split is transposed to one concatenation, where indexing would be to a sum of paddings.
    moves = lax.split(tangents[0], (1,) * len(slabs))
    best, move = slabs[0] + bias[0], moves[0][0]
    for slab, other in zip(slabs[1:], moves[1:], strict=True):
        value = slab + bias[0]
        better = (value > best) | jnp.isnan(value)
        best, move = jnp.where(better, value, best), jnp.where(better, other[0], move)
    return best, move + tangents[1][0]


def _laid_out(values: Array, order: tuple[int, ...] | None = None) -> Array:
    """Return the same array, with its axes in memory as in `order`, by default as they stand.

    XLA would rather relabel a transpose than move anything, and later slices would run strided.
    """
    order = tuple(range(values.ndim)) if order is None else order
    return with_layout_constraint(values, Layout(major_to_minor=order))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _im2col(steps: Array, rows: Axis, columns: Axis) -> Array:
    """Return the patches, of shape (C, *patch height, *patch width, rows, columns, N).

    Args:
        steps: The images cut into steps, of shape (C, n, row step, m, column step, N).
        rows: The vertical axis.
        columns: The horizontal axis.
    """
    windows = _overlapping(steps, 3, columns.steps, columns.patches)
    windows = _overlapping(windows, 1, rows.steps, rows.patches)
    return _laid_out(windows.transpose(0, 1, 3, 4, 6, 2, 5, 7))


@_im2col.defjvp
def _im2col_jvp(
    rows: Axis, columns: Axis, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # Transposed, a stack of slices is a sum of a few paddings, which makes one loop.
    tangent = tangents[0].transpose(0, 2, 4, 1, 3, 5)
    slices = [
        tangent[:, :, :, row : row + rows.patches, column : column + columns.patches]
        for row, column in itertools.product(range(rows.steps), range(columns.steps))
    ]
    stacked = jnp.stack(slices).reshape(rows.steps, columns.steps, *slices[0].shape)
    return _im2col(*primals, rows, columns), stacked.transpose(2, 0, 3, 1, 4, 5, 6, 7)


def _overlapping(values: Array, axis: int, length: int, count: int) -> Array:
    """Return `count` windows along an axis: out[..., i, j, ...] = values[..., i + j, ...].

    Copies of the axis one after the other, cut into pieces one element longer than it is: each
    piece starts one element further on. This is one loop of plain copies.
    """
    shape = values.shape
    others = [i for i in range(len(shape) + 1) if i != axis]
    copies = (*shape[:axis], length + 1, *shape[axis:])
    repeated = lax.broadcast_in_dim(values, copies, others)
    repeated = repeated.reshape(*shape[:axis], -1, *shape[axis + 1 :])
    size = shape[axis] + 1
    pieces = lax.slice_in_dim(repeated, 0, length * size, axis=axis)
    pieces = pieces.reshape(*shape[:axis], length, size, *shape[axis + 1 :])
    return lax.slice_in_dim(pieces, 0, count, axis=axis + 1)


def _filters(weight: Array, rows: Axis, columns: Axis) -> Array:
    """Return the filters of every place in a block, as rows of a matrix as wide as a patch.

    A NaN or an infinity in a patch meets the zeros around a filter, and makes NaN of its output.
    """
    zero = jnp.zeros((), weight.dtype)
    (height, width) = (axis.steps * axis.step for axis in (rows, columns))
    placed = []
    for row, column in itertools.product(range(rows.block), range(columns.block)):
        top, left = row * rows.stride, column * columns.stride
        vertical = top, height - rows.kernel - top, 0
        horizontal = left, width - columns.kernel - left, 0
        placed.append(lax.pad(weight, zero, ((0, 0, 0), (0, 0, 0), vertical, horizontal)))
    return jnp.stack(placed).reshape(len(placed) * len(weight), -1)


@jax.custom_jvp
def _product(filters: Array, patches: Array) -> Array:
    return filters @ patches


@_product.defjvp
def _product_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    filters, patches = primals
    # Of the two, the transposed product is the faster where the filters' transpose is real.
    transposed = _laid_out(filters.T)
    by_patches = lax.dot_general(transposed, tangents[1], (((0,), (0,)), ((), ())))
    return filters @ patches, tangents[0] @ patches + by_patches
