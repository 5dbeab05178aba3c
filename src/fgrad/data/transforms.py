"""Pad, crop and flip: pure functions over a batch of images, their randomness from a key."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fgrad.data.dataset import Array as AnyArray
from fgrad.types import Array, ArrayLike

Padding: TypeAlias = int | tuple[int, int] | tuple[int, int, int, int]
"""All sides; or left and right, top and bottom; or left, top, right, bottom."""


def pad(images: AnyArray, padding: Padding, fill: float = 0) -> AnyArray:
    """Put a margin around images.

    Args:
        images: Of shape (..., H, W), in NumPy or in JAX, of any dtype.
        padding: How wide: one number for all sides, or (left and right, top and bottom), or
            (left, top, right, bottom).
        fill: The margin's value.

    Returns:
        Images of shape (..., top + H + bottom, left + W + right).

    Raises:
        ValueError: If `padding` is something else or negative, or `images` has fewer than two axes.

    Example:
        >>> pad(np.ones((1, 1, 28, 28), np.uint8), 2).shape
        (1, 1, 32, 32)

    Source: `torchvision.transforms.Pad`.
    """
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or min(sides) < 0:
        raise ValueError(f"padding: expected 1, 2 or 4 numbers of 0 or more, got {padding}")
    if images.ndim < 2:
        raise ValueError(f"images: expected shape (..., H, W), got {images.shape}")
    left, top, right, bottom = sides * (4 // len(sides))
    widths = [(0, 0)] * (images.ndim - 2) + [(top, bottom), (left, right)]
    value = np.asarray(fill, images.dtype)
    if isinstance(images, jax.Array):
        return jnp.pad(images, widths, constant_values=value)
    return np.pad(images, widths, constant_values=value)


def random_crop(
    key: Array, images: ArrayLike, size: int | tuple[int, int], *, padding: Padding = 0
) -> Array:
    """Cut a piece out of each image, each at a place of its own.

    Args:
        key: A `jax.random.key`.
        images: Of shape (N, C, H, W).
        size: The piece's height and width, or one number for both.
        padding: A margin of zeros to put around the images first, as for `pad`.

    Returns:
        Pieces of shape (N, C, *size). Every place is equally likely.

    Raises:
        ValueError: If the piece is larger than the padded image, or `images` has other axes.

    Example:
        >>> images = jnp.zeros((5, 3, 32, 32))
        >>> random_crop(jax.random.key(0), images, 32, padding=4).shape
        (5, 3, 32, 32)

    Source: `torchvision.transforms.RandomCrop`, one image at a time.
    """
    _check_batch(images)
    padded = pad(jnp.asarray(images), padding)
    height, width = (size, size) if isinstance(size, int) else size
    count, channels, *room = padded.shape
    if not (0 < height <= room[0] and 0 < width <= room[1]):
        raise ValueError(f"size: expected 1 to {room[0]} x 1 to {room[1]}, got {height} x {width}")
    spare = jnp.array([room[0] - height, room[1] - width])
    corners = jax.random.randint(key, (count, 2), 0, spare[None] + 1)

    def cut(image: Array, corner: Array) -> Array:
        return lax.dynamic_slice(image, (0, *corner), (channels, height, width))

    return jax.vmap(cut)(padded, corners)


def random_flip(key: Array, images: ArrayLike, p: float = 0.5) -> Array:
    """Mirror each image left to right, or leave it.

    Args:
        key: A `jax.random.key`.
        images: Of shape (N, C, H, W).
        p: How likely each is mirrored.

    Returns:
        Images of the same shape.

    Raises:
        ValueError: If `images` has other axes, or `p` is not from 0 to 1.

    Example:
        >>> image = jnp.arange(4.0).reshape(1, 1, 2, 2)
        >>> print(random_flip(jax.random.key(0), image, p=1.0)[0, 0])
        [[1. 0.]
         [3. 2.]]

    Source: `torchvision.transforms.RandomHorizontalFlip`, one image at a time.
    """
    _check_batch(images)
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected 0 to 1, got {p}")
    images = jnp.asarray(images)
    mirrored = jax.random.bernoulli(key, p, (len(images), 1, 1, 1))
    return jnp.where(mirrored, images[..., ::-1], images)


def _check_batch(images: ArrayLike) -> None:
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (N, C, H, W), got {images.shape}")
