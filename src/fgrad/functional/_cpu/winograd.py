"""Convolution with 3x3 filters by fewer multiplications: Winograd's minimal filtering.

Along one axis, a tile of four numbers holds two outputs of a filter of three. They take six
multiplications or, with sums of the tile's numbers and of the filter's, only four:

    m0 = (d0 - d2) w0                       d0 w0 + d1 w1 + d2 w2 = m0 + m1 + m2
    m1 = (d1 + d2) (w0 + w1 + w2) / 2       d1 w0 + d2 w1 + d3 w2 = m1 - m2 - m3
    m2 = (d2 - d1) (w0 - w1 + w2) / 2
    m3 = (d1 - d3) w2

Along both axes a 4x4 tile gives a 2x2 block of outputs by 16 multiplications in place of 36. Over
all channels and all tiles, each of the 16 is a product of matrices.

Source: A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015, F(2x2, 3x3).
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jax import lax

from fgrad.functional._cpu.products import laid_out, product
from fgrad.types import Array

KERNEL: Final = 3
BLOCK: Final = 2
_PRODUCTS: Final = (KERNEL + BLOCK - 1) ** 2

_OF_FILTERS: Final = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OF_PRODUCTS: Final = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def convolve(steps: Array, weight: Array) -> Array:
    """Convolve images cut into steps of two, side by side.

    Args:
        steps: Of shape (C, n, 2, m, 2, N); a tile is two steps high and two wide.
        weight: Of shape (O, C, 3, 3).

    Returns:
        Of shape (4, O (n - 1) (m - 1) N): the outputs at the four places of a block, row by row.
    """
    outputs, channels = weight.shape[:2]
    of_filters, of_products = (
        jnp.asarray(np.kron(along, along), weight.dtype) for along in (_OF_FILTERS, _OF_PRODUCTS)
    )
    rows = laid_out(_sums(steps, axis=1, new=0))
    tiles = _sums(rows, axis=3, new=1).reshape(_PRODUCTS, channels, -1)
    filters = product(of_filters, weight.reshape(-1, KERNEL**2).T)
    products = product(filters.reshape(_PRODUCTS, outputs, channels), tiles)
    return product(of_products, products.reshape(_PRODUCTS, -1))


def _sums(steps: Array, axis: int, new: int) -> Array:
    """Return the four sums of every tile's numbers along an axis.

    Args:
        steps: The images, with the steps along `axis` and a step's two numbers along the next.
        axis: Which one.
        new: Where to put the axis of the four.
    """
    even, odd = (lax.index_in_dim(steps, i, axis + 1, keepdims=False) for i in (0, 1))
    count = even.shape[axis] - 1
    first, third = (lax.slice_in_dim(even, i, i + count, axis=axis) for i in (0, 1))
    second, fourth = (lax.slice_in_dim(odd, i, i + count, axis=axis) for i in (0, 1))
    return jnp.stack([first - third, second + third, third - second, second - fourth], new)
