"""The networks that are timed, described once for both sides; needs neither PyTorch nor JAX."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Epoch = Callable[[], float]
"""Trains on every batch once, waits for the end and returns the last loss."""

CLASSES = 10
PIXELS = 32  # images are so wide and high
LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Convolution(NamedTuple):
    """A convolution and a relu, and where `pool` is above 1 the maxima of windows of that size."""

    channels: int
    kernel: int
    padding: int = 0
    pool: int = 1


class Network(NamedTuple):
    """Convolutions, then linear layers with a relu between.

    Attributes:
        name: What the tables call it.
        channels: The images' channels.
        convolutions: In order.
        features: The linear layers' outputs.
    """

    name: str
    channels: int
    convolutions: tuple[Convolution, ...]
    features: tuple[int, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, by layer."""
        shapes: dict[str, tuple[int, ...]] = {}
        channels, size = self.channels, PIXELS
        for number, layer in enumerate(self.convolutions, 1):
            shapes[f"conv{number}"] = (layer.channels, channels, layer.kernel, layer.kernel)
            size = (size + 2 * layer.padding - layer.kernel + 1) // layer.pool
            channels = layer.channels
        before = (channels * size**2, *self.features)
        for number, pair in enumerate(zip(self.features, before, strict=False), 1):
            shapes[f"fc{number}"] = pair
        return shapes

    def wider(self, factor: float) -> "Network":
        """Return the network with `factor` times the channels and features inside."""
        convolutions = (
            layer._replace(channels=max(1, round(layer.channels * factor)))
            for layer in self.convolutions
        )
        inside = (max(1, round(size * factor)) for size in self.features[:-1])
        return self._replace(
            convolutions=tuple(convolutions), features=(*inside, self.features[-1])
        )


def random_batches(network: Network, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` batches of `size` images and labels."""
    rng = np.random.default_rng(0)
    shape = count, size, network.channels, PIXELS, PIXELS
    images = rng.standard_normal(shape, np.float32)
    return images, rng.integers(0, CLASSES, (count, size)).astype(np.int32)


LENET = Network(
    "LeNet", 1, (Convolution(6, 5, pool=2), Convolution(16, 5, pool=2)), (120, 84, CLASSES)
)
CIFAR_LENET = LENET._replace(name="CIFAR LeNet", channels=3)
CONVNET = Network("convnet", 1, (Convolution(6, 3), Convolution(16, 3)), (512, 64, CLASSES))
VGG = Network(
    "VGG-like",
    3,
    tuple(Convolution(channels, 3, padding=1, pool=2) for channels in (32, 64, 128)),
    (256, CLASSES),
)
NETWORKS = {network.name: network for network in (LENET, CIFAR_LENET, CONVNET, VGG)}
