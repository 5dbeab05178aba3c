"""Convolution as products of matrices, the way that a CPU does it fast.

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
from collections.abc import Callable
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax

from fgrad.functional._cpu import winograd
from fgrad.functional._cpu.axes import Axis
from fgrad.functional._cpu.formulation import Formulation
from fgrad.functional._cpu.products import laid_out, product
from fgrad.types import Array

_IN_PARTS: Final = 32  # images from which a batch is worth taking apart
_IN_ONE_LOOP: Final = 9  # overlapping pieces up to which one loop adds them as fast as two


def batch_last(images: Array) -> Array:
    """Return images (N, C, H, W) as (C, H, W, N)."""
    return laid_out(images.transpose(1, 2, 3, 0))


def in_parts(
    function: Callable[[Array], Array], images: Array, *, keep_last: bool = False
) -> Array:
    """Return `function(images)`, a large batch in parts.

    The parts are independent of one another, layer after layer, and so keep two cores busy; and
    what one makes fits the cache better.

    Args:
        function: What to do with a batch.
        images: Of shape (N, C, H, W).
        keep_last: Whether to join the parts with the batch as their last axis in memory: a small
            result is faster to transpose once, after joining, than part by part.
    """
    if len(images) < _IN_PARTS:
        return function(images)
    count = min(8, max(2, len(images) // 64))  # each is a copy of the program
    sizes = [(len(images) + part) // count for part in range(count)]
    parts = [function(part) for part in lax.split(images, sizes)]
    if keep_last:
        parts = [laid_out(part, (1, 2, 3, 0)) for part in parts]
    return jnp.concatenate(parts)


def convolve(images: Array, weight: Array, formulation: Formulation) -> Array:
    """Convolve images with the batch last.

    Args:
        images: Of shape (C, H, W, N).
        weight: Of shape (O, C, height, width).
        formulation: By which products.

    Returns:
        Slabs, of shape (p q, a, b, O, H', W', N): what all pooling windows, p high and q wide, have
        in their first place, in their second, and so on. Of the windows that one patch yields, a
        are below one another and b are side by side; H' and W' count the patches.
    """
    rows, columns, by_winograd = formulation
    channels, *_, batch = images.shape
    zero = jnp.zeros((), images.dtype)
    padded = lax.pad(images, zero, ((0, 0, 0), rows.edges, columns.edges, (0, 0, 0)))
    height, width = (
        size // axis.step for size, axis in zip(padded.shape[1:3], (rows, columns), strict=True)
    )
    steps = padded.reshape(channels, height, rows.step, width, columns.step, batch)
    a, b = (axis.block // axis.within for axis in (rows, columns))
    if by_winograd:
        places = winograd.convolve(steps, weight).reshape(a, rows.within, b, columns.within, -1)
        blocks = places.transpose(1, 3, 0, 2, 4)
    else:
        patches = _im2col(steps, rows, columns)
        filters = _filters(weight, rows, columns)
        blocks = product(filters, patches.reshape(filters.shape[1], -1))

    # Where a window is larger than a block, its other places are in the next patches.
    down, across = (axis.window // axis.within for axis in (rows, columns))
    height, width = rows.patches // down, columns.patches // across
    outputs = blocks.reshape(
        rows.within, columns.within, a, b, len(weight), height, down, width, across, batch
    )
    slabs = laid_out(outputs).transpose(6, 0, 8, 1, 2, 3, 4, 5, 7, 9)
    return slabs.reshape(rows.window * columns.window, a, b, len(weight), height, width, batch)


def as_images(outputs: Array) -> Array:
    """Return outputs of shape (a, b, O, H', W', N), as in a slab, as images (N, O, a H', b W')."""
    a, b, channels, height, width, batch = outputs.shape
    images = outputs.transpose(5, 2, 3, 0, 4, 1)
    return images.reshape(batch, channels, height * a, width * b)


@jax.custom_jvp
def first_maximum(slabs: Array) -> Array:
    """Return the maximum over the first axis, the places of a window.

    The gradient goes to the first maximum; where that is NaN, to the last place.
    """
    return functools.reduce(jnp.maximum, slabs)


@first_maximum.defjvp
def _first_maximum_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (slabs,), (tangent,) = primals, tangents
    maximum = first_maximum(slabs)
    # A split is transposed to one concatenation, where indexing would be to a sum of paddings.
    *moves, move = (part[0] for part in lax.split(tangent, (1,) * len(slabs)))
    for slab, other in zip(reversed(slabs[:-1]), reversed(moves), strict=True):
        move = jnp.where(slab == maximum, other, move)
    return maximum, move


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
    return laid_out(windows.transpose(0, 1, 3, 4, 6, 2, 5, 7))


@_im2col.defjvp
def _im2col_jvp(
    rows: Axis, columns: Axis, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # Transposed, a stack of slices is a sum of paddings, which makes one loop if they are few.
    (tangent,) = tangents
    if rows.steps * columns.steps <= _IN_ONE_LOOP:
        pairs = itertools.product(range(rows.steps), range(columns.steps))
        moved = tangent.transpose(0, 2, 4, 1, 3, 5)
        slices = [
            moved[:, :, :, row : row + rows.patches, column : column + columns.patches]
            for row, column in pairs
        ]
        stacked = jnp.stack(slices).reshape(rows.steps, columns.steps, *slices[0].shape)
        patches = stacked.transpose(2, 0, 3, 1, 4, 5, 6, 7)
    else:
        beside = laid_out(_stacked(tangent, 3, columns))
        patches = _stacked(beside, 1, rows).transpose(0, 1, 3, 4, 6, 2, 5, 7)
    return _im2col(*primals, rows, columns), patches


def _stacked(values: Array, axis: int, along: Axis) -> Array:
    """Return what `_overlapping` does, as a stack of slices."""
    starts = range(along.steps)
    return jnp.stack(
        [lax.slice_in_dim(values, i, i + along.patches, axis=axis) for i in starts], axis
    )


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
    """Return the filters at each of their places in a patch, as rows of a matrix.

    A NaN or an infinity in a patch meets the zeros around a filter, and makes NaN of its output.
    """
    zero = jnp.zeros((), weight.dtype)
    (height, width) = (axis.steps * axis.step for axis in (rows, columns))
    placed = []
    for row, column, below, beside in itertools.product(
        range(rows.within),
        range(columns.within),
        range(rows.block // rows.within),
        range(columns.block // columns.within),
    ):
        top = (below * rows.within + row) * rows.stride
        left = (beside * columns.within + column) * columns.stride
        vertical = top, height - rows.kernel - top, 0
        horizontal = left, width - columns.kernel - left, 0
        placed.append(lax.pad(weight, zero, ((0, 0, 0), (0, 0, 0), vertical, horizontal)))
    return jnp.stack(placed).reshape(len(placed) * len(weight), -1)
