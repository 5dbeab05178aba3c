"""Convolution of every channel with filters of its own, the way that a CPU does it fast.

There is no sum over channels, and so no product of matrices to make of it: each element of the
filters scales a moved copy of the image. The compiler makes one loop of the copies and their sum;
its own grouped convolution takes several times as long, and in float64 multiplies other channels by
zeros, so that an infinity in one makes NaN of all.
"""

from typing import Final

import jax.numpy as jnp
from jax import lax

from fgrad.types import Array

MOST_TAPS: Final = 64
"""Elements of a filter up to which a copy of the program for each is worth compiling."""


def convolve(
    images: Array,
    weight: Array,
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
) -> Array:
    """Return the convolution of images (N, C, H, W) with filters (C * multiplier, 1, h, w).

    A filter that is 2 long, moved by 1 over (a, b, c) padded with a zero on the left:

        w[0] * (0, a, b)
      + w[1] * (a, b, c)
    """
    multiplier = len(weight) // images.shape[1]
    images = jnp.repeat(images, multiplier, axis=1)  # filters of one channel follow one another
    images = lax.pad(
        images,
        jnp.zeros((), images.dtype),
        [(0, 0, 0), (0, 0, 0), *((before, after, 0) for before, after in padding)],
    )
    height, width = weight.shape[2:]
    # Where the last output begins, and one more: the end of a slice.
    bottom, right = (
        (size - (kernel - 1) * step - 1) // stride * stride + 1
        for size, kernel, step, stride in zip(
            images.shape[2:], (height, width), dilation, strides, strict=True
        )
    )
    output: Array | None = None
    for row in range(height):
        for column in range(width):
            y, x = row * dilation[0], column * dilation[1]
            seen = images[:, :, y : y + bottom : strides[0], x : x + right : strides[1]]
            term = seen * weight[None, :, 0, row, column, None, None]
            output = term if output is None else output + term
    assert output is not None  # filters have at least one element
    return output
