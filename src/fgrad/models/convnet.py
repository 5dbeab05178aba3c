"""The network of the lesson on one image: two convolutions, and no pooling."""

import jax
import numpy as np
import numpy.typing as npt

from fgrad import functional as F
from fgrad.models import layers
from fgrad.random import Rng
from fgrad.types import Array, ArrayLike, Params


def init(
    rng: Rng, *, channels: int = 1, classes: int = 2, dtype: npt.DTypeLike = np.float32
) -> dict[str, dict[str, Array]]:
    """Return the parameters of a new network: 6,456,942 numbers.

    Args:
        rng: A `fgrad.random.Generator` for PyTorch's bits, or a `jax.random.key`.
        channels: How many an image has; 1 in the lesson.
        classes: How many outputs there are; 2 in the lesson.
        dtype: float32 or float64.

    Returns:
        `{"conv1": {"weight": (6, channels, 3, 3), "bias": (6,)}, ..., "fc3": {...}}`.

    Raises:
        ValueError: If a number is below 1, or `dtype` another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> print(init(Generator(0))["fc1"]["weight"].shape)
        (512, 12544)

    Source: the lesson's Net.
    """
    return layers.init(rng, _shapes(channels, classes), dtype=dtype)


def apply(params: Params, x: ArrayLike) -> Array:
    """Return two numbers for each image.

    Two 3x3 convolutions and three linear layers, with a relu after each but the last.

    Args:
        params: As from `init`.
        x: Images of shape (N, channels, 32, 32), or one without the N, in the
            parameters' dtype.

    Returns:
        The outputs, of shape (N, classes) or (classes,).

    Raises:
        ValueError: If a shape or a dtype is another.

    Example:
        >>> from fgrad.random import Generator
        >>> rng = Generator(0)
        >>> print(apply(init(rng), rng.randn((1, 1, 32, 32))).shape)
        (1, 2)

    Source: the lesson's Net.
    """
    channels = layers.size(params, "conv1", axis=1, default=1)
    classes = layers.size(params, "fc3", axis=0, default=2)
    x = layers.check(params, x, _shapes(channels, classes), (channels, 32, 32))
    for name in ("conv1", "conv2"):
        with jax.named_scope(name):
            x = F.relu(F.conv2d(x, **params[name]))
    with jax.named_scope("fc1"):
        x = F.relu(F.linear(F.flatten(x, -3), **params["fc1"]))
    with jax.named_scope("fc2"):
        x = F.relu(F.linear(x, **params["fc2"]))
    with jax.named_scope("fc3"):
        return F.linear(x, **params["fc3"])


def _shapes(channels: int, classes: int) -> layers.Shapes:
    return {
        "conv1": (6, channels, 3, 3),
        "conv2": (16, 6, 3, 3),
        "fc1": (512, 16 * 28 * 28),
        "fc2": (64, 512),
        "fc3": (classes, 64),
    }
