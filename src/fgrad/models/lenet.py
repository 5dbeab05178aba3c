"""The LeNet of the lesson on automatic differentiation: 32x32 images to ten scores."""

import jax
import numpy as np
import numpy.typing as npt

from fgrad import functional as F
from fgrad.models import layers
from fgrad.random import Rng
from fgrad.types import Array, ArrayLike, Params


def init(
    rng: Rng, *, channels: int = 1, classes: int = 10, dtype: npt.DTypeLike = np.float32
) -> dict[str, dict[str, Array]]:
    """Return the parameters of a new network: 61,706 numbers.

    Args:
        rng: A `fgrad.random.Generator` for PyTorch's bits, or a `jax.random.key`.
        channels: How many an image has; 1 in the lesson.
        classes: How many outputs there are; 10 in the lesson.
        dtype: float32 or float64.

    Returns:
        `{"conv1": {"weight": (6, channels, 5, 5), "bias": (6,)}, ..., "fc3": {...}}`.

    Raises:
        ValueError: If a number is below 1, or `dtype` another or not enabled.

    Example:
        >>> from fgrad.random import Generator
        >>> params = init(Generator(0))
        >>> print(list(params), params["conv1"]["weight"][0, 0, 0, 0])
        ['conv1', 'conv2', 'fc1', 'fc2', 'fc3'] -0.001497364

    Source: the lesson's Net.
    """
    return layers.init(rng, _shapes(channels, classes), dtype=dtype)


def apply(params: Params, x: ArrayLike) -> Array:
    """Return the scores of ten classes.

    Two 5x5 convolutions, each with a relu and the maximum of every 2x2 window, then three linear
    layers with a relu between.

    Args:
        params: As from `init`.
        x: Images of shape (N, channels, 32, 32), or one without the N, in the
            parameters' dtype.

    Returns:
        The scores, of shape (N, classes) or (classes,).

    Raises:
        ValueError: If a shape or a dtype is another.

    Example:
        >>> from fgrad.random import Generator
        >>> rng = Generator(0)
        >>> print(apply(init(rng), rng.randn((2, 1, 32, 32))).shape)
        (2, 10)

    Source: the lesson's Net.
    """
    channels = layers.size(params, "conv1", axis=1, default=1)
    classes = layers.size(params, "fc3", axis=0, default=10)
    x = layers.check(params, x, _shapes(channels, classes), (channels, 32, 32))
    with jax.named_scope("conv1"):
        x = F.conv2d_relu_max_pool2d(x, **params["conv1"], pool_size=2)
    with jax.named_scope("conv2"):
        x = F.conv2d_relu_max_pool2d(x, **params["conv2"], pool_size=2)
    with jax.named_scope("fc1"):
        x = F.relu(F.linear(F.flatten(x, -3), **params["fc1"]))
    with jax.named_scope("fc2"):
        x = F.relu(F.linear(x, **params["fc2"]))
    with jax.named_scope("fc3"):
        return F.linear(x, **params["fc3"])


def _shapes(channels: int, classes: int) -> layers.Shapes:
    return {
        "conv1": (6, channels, 5, 5),
        "conv2": (16, 6, 5, 5),
        "fc1": (120, 16 * 5 * 5),
        "fc2": (84, 120),
        "fc3": (classes, 84),
    }
