"""From bytes to the numbers that a network takes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fgrad.data.dataset import Array, Images
from fgrad.types import ArrayLike

# Divided in NumPy: XLA would multiply by 1/255, and so round 126 of the 256 differently.
_UNIT = np.arange(256, dtype=np.float32) / 255


def to_float(images: Array) -> Array:
    """Turn bytes into float32 numbers from 0 to 1.

    Args:
        images: uint8 of any shape, in NumPy or in JAX, where it may be traced.

    Returns:
        `images / 255`, to the last bit as PyTorch divides, in NumPy for NumPy's arrays and else
        in JAX.

    Raises:
        ValueError: If `images` is not uint8.

    Example:
        >>> to_float(np.array([0, 51, 255], np.uint8))
        array([0. , 0.2, 1. ], dtype=float32)

    Source: `torchvision.transforms.ToTensor`.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"images: expected uint8, got {images.dtype}")
    return jnp.asarray(_UNIT)[images] if isinstance(images, jax.Array) else _UNIT[images]


def standardise(images: Array, mean: ArrayLike, std: ArrayLike) -> Array:
    """Shift and scale every channel.

    Args:
        images: float32 of shape (N, C, H, W) or (C, H, W), in NumPy or in JAX.
        mean: What to subtract from each channel, of shape (C,).
        std: What to divide each channel by, of shape (C,).

    Returns:
        `(images - mean) / std`; PyTorch's bits where NumPy computes it. XLA, where `std` is a
        constant of its program, multiplies by the reciprocal, within 1 ULP.

    Raises:
        ValueError: If a shape or a dtype is another, or a value of `std` is not above 0.

    Example:
        >>> standardise(np.float32([[[1.0, 5.0]]]), np.float32([3.0]), np.float32([2.0]))
        array([[[-1.,  1.]]], dtype=float32)

    Source: `torchvision.transforms.Normalize`.
    """
    if images.dtype != np.float32 or images.ndim not in (3, 4):
        raise ValueError(
            "images: expected float32 of shape (N, C, H, W) or (C, H, W), got "
            f"{images.dtype} of shape {images.shape}"
        )
    channels = images.shape[-3]
    for name, value in (("mean", mean), ("std", std)):
        if np.shape(value) != (channels,) or value.dtype != np.float32:
            raise ValueError(
                f"{name}: expected float32 of shape ({channels},), got {value.dtype} of shape "
                f"{np.shape(value)}"
            )
    if not isinstance(std, jax.core.Tracer) and not (np.asarray(std) > 0).all():
        raise ValueError(f"std: expected values above 0, got {std}")
    shape = (1,) * (images.ndim - 3) + (channels, 1, 1)
    return (images - mean.reshape(shape)) / std.reshape(shape)


def channel_statistics(images: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    r"""Return the mean and the standard deviation of every channel.

    $$\mu_c = \frac1n \sum x_c, \qquad \sigma_c = \sqrt{\frac1n \sum (x_c - \mu_c)^2}$$

    Args:
        images: uint8 of shape (N, C, H, W).

    Returns:
        Mean and standard deviation of `to_float(images)`, float32 of shape (C,), for `standardise`:
        computed exactly from how often each byte comes, then rounded once.

    Raises:
        ValueError: If `images` is something else, or empty.

    Example:
        >>> mean, std = channel_statistics(np.uint8([[[[0, 255]], [[51, 51]]]]))
        >>> print(mean, std)
        [0.5 0.2] [0.5 0. ]

    Source: the constants that lessons give `torchvision.transforms.Normalize`.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise ValueError(
            f"images: expected uint8 of shape (N, C, H, W), got {images.dtype} of shape "
            f"{images.shape}"
        )
    counts = np.zeros((images.shape[1], 256))
    # Image after image: counting makes eight bytes of each.
    for image in images:
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in image]
    share = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
    return mean.astype(np.float32), std.astype(np.float32)
