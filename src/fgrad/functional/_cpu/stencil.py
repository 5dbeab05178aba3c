"""The maxima of a convolution's windows in one loop, without patches: where filters see little.

The loop runs over the maxima. For each it adds up all products of all places in a window, and
writes nothing but the largest sum. A matrix of patches is many times larger than that, and the
zeros around the filters in it are multiplied in vain. But the derivatives need the patches.
"""

import functools
import itertools
import operator
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax

from fgrad.functional._cpu import patches
from fgrad.functional._cpu.axes import Axis
from fgrad.functional._cpu.formulation import Formulation
from fgrad.functional._cpu.products import laid_out
from fgrad.types import Array

_LANES: Final = 16  # images from which the loop over them is fast
_LENGTH: Final = 32  # numbers of a filter up to which a product of matrices gains nothing
_PRODUCTS: Final = 128  # for one maximum; more make a loop that is slow, to compile as well


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def first_maximum(images: Array, weight: Array, formulation: Formulation) -> Array:
    """Return `patches.first_maximum(patches.convolve(...))`, up to rounding.

    A pixel that is not finite reaches no output but those that see it.
    """
    rows, columns, _ = formulation
    length = weight[0].size
    products = length * rows.window * columns.window
    if images.shape[-1] < _LANES or length > _LENGTH or products > _PRODUCTS:
        return _by_patches(images, weight, formulation)
    zero = jnp.zeros((), images.dtype)
    edges = [axis._replace(block=1).edges for axis in (rows, columns)]
    padded = lax.pad(images, zero, ((0, 0, 0), *edges, (0, 0, 0)))
    places = itertools.product(range(rows.window), range(columns.window))
    maxima = functools.reduce(
        jnp.maximum,
        (_sums(padded, weight, (rows, row), (columns, column)) for row, column in places),
    )
    # As the patches' blocks lie; `patches.as_images` undoes it. Were the batch not last here, XLA
    # might transpose within the loop, and the processor's lanes would have nothing to run over.
    (a, height), (b, width) = (
        (axis.block // axis.within, axis.outputs // max(axis.block, axis.window))
        for axis in (rows, columns)
    )
    blocks = laid_out(maxima).reshape(len(weight), height, a, width, b, -1)
    return blocks.transpose(2, 4, 0, 1, 3, 5)


@first_maximum.defjvp
def _first_maximum_jvp(
    formulation: Formulation, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    by_patches = functools.partial(_by_patches, formulation=formulation)
    maximum: Array
    tangent: Array
    maximum, tangent = jax.jvp(by_patches, primals, tangents)
    return maximum, tangent


def _by_patches(images: Array, weight: Array, formulation: Formulation) -> Array:
    return patches.first_maximum(patches.convolve(images, weight, formulation))


def _sums(
    images: Array, weight: Array, vertical: tuple[Axis, int], horizontal: tuple[Axis, int]
) -> Array:
    """Return the convolution in one place of every window, of shape (O, H', W', N).

    Args:
        images: Padded, of shape (C, H, W, N).
        weight: Of shape (O, C, height, width).
        vertical: The axis, and the place in the window.
        horizontal: The same.
    """

    def product(channel: int, row: int, column: int) -> Array:
        starts, limits, steps = zip(
            (channel, channel + 1, 1),
            _seen(row, *vertical),
            _seen(column, *horizontal),
            (0, images.shape[-1], 1),
            strict=True,
        )
        seen = lax.slice(images, starts, limits, steps)
        return weight[:, channel, row, column, None, None, None] * seen

    elements = itertools.product(*map(range, weight.shape[1:]))
    return functools.reduce(operator.add, itertools.starmap(product, elements))


def _seen(element: int, axis: Axis, place: int) -> tuple[int, int, int]:
    """Return the first, the end and the step of the pixels that an element of a filter meets."""
    start, step = place * axis.stride + element, axis.stride * axis.window
    return start, start + step * (axis.outputs // axis.window - 1) + 1, step
