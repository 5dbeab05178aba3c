"""The networks that are timed, each built twice: as a PyTorch module, and of fgrad's functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from fgrad import functional as F
from fgrad import interop
from fgrad.types import Array, ArrayLike, Params

CLASSES = 10


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
        channels: The images' channels; they are 32 pixels wide and high.
        convolutions: In order.
        features: The linear layers' outputs.
    """

    name: str
    channels: int
    convolutions: tuple[Convolution, ...]
    features: tuple[int, ...]

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

    def module(self) -> nn.Sequential:
        """Return it in PyTorch, new weights drawn."""
        module = nn.Sequential()
        channels = self.channels
        for number, layer in enumerate(self.convolutions, 1):
            convolution = nn.Conv2d(channels, layer.channels, layer.kernel, padding=layer.padding)
            module.add_module(f"conv{number}", convolution)
            module.add_module(f"relu{number}", nn.ReLU())
            if layer.pool > 1:
                module.add_module(f"pool{number}", nn.MaxPool2d(layer.pool))
            channels = layer.channels
        module.add_module("flatten", nn.Flatten())
        size = module(torch.zeros(1, self.channels, 32, 32)).shape[1]
        for number, features in enumerate(self.features, 1):
            if number > 1:
                module.add_module(f"fc_relu{number}", nn.ReLU())
            module.add_module(f"fc{number}", nn.Linear(size, features))
            size = features
        return module

    def apply(self, params: Params, x: ArrayLike) -> Array:
        """Return the scores of images (N, channels, 32, 32), given the module's parameters."""
        x = jnp.asarray(x)
        for number, layer in enumerate(self.convolutions, 1):
            weights = params[f"conv{number}"]
            if layer.pool > 1:
                x = F.conv2d_relu_max_pool2d(
                    x, **weights, padding=layer.padding, pool_size=layer.pool
                )
            else:
                x = F.relu(F.conv2d(x, **weights, padding=layer.padding))
        x = F.flatten(x, 1)
        for number in range(1, len(self.features)):
            x = F.relu(F.linear(x, **params[f"fc{number}"]))
        return F.linear(x, **params[f"fc{len(self.features)}"])

    def loss(self, params: Params, batch: tuple[Array, Array]) -> Array:
        """Return the mean cross entropy of a batch."""
        images, labels = batch
        return F.cross_entropy(self.apply(params, images), labels)


def parameters(module: nn.Module) -> Params:
    """Return a module's parameters as fgrad takes them."""
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    return jax.device_put(interop.from_state_dict(arrays))


def random_batches(network: Network, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` batches of `size` images and labels."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, size, network.channels, 32, 32)).astype(np.float32)
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
