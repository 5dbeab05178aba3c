"""fgrad's side of the networks' benchmark; imports no PyTorch."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from networks import LEARNING_RATE, MOMENTUM, PIXELS, Epoch, Network

import fgrad
from fgrad import functional as F
from fgrad.models import layers
from fgrad.random import Generator
from fgrad.types import Array, ArrayLike, Params


def parameters(network: Network) -> Params:
    """Return new parameters, with PyTorch's names."""
    return jax.device_put(layers.init(Generator(0), network.shapes()))


def apply(network: Network, params: Params, x: ArrayLike) -> Array:
    """Return the scores of images (N, channels, height, width)."""
    x = jnp.asarray(x)
    for number, layer in enumerate(network.convolutions, 1):
        weights = params[f"conv{number}"]
        if layer.pool > 1:
            x = F.conv2d_relu_max_pool2d(x, **weights, padding=layer.padding, pool_size=layer.pool)
        else:
            x = F.relu(F.conv2d(x, **weights, padding=layer.padding))
    x = F.flatten(x, 1)
    for number in range(1, len(network.features)):
        x = F.relu(F.linear(x, **params[f"fc{number}"]))
    return F.linear(x, **params[f"fc{len(network.features)}"])


def loss(network: Network, params: Params, batch: tuple[Array, Array]) -> Array:
    """Return the mean cross entropy of a batch."""
    images, labels = batch
    return F.cross_entropy(apply(network, params, images), labels)


def flops(network: Network) -> int:
    """Return the floating-point operations of one image, forward."""
    image = np.zeros((1, network.channels, PIXELS, PIXELS), np.float32)
    forward = functools.partial(apply, network)
    return 2 * fgrad.summary(forward, parameters(network), image).multiply_adds


def batches_of(network: Network, size: int) -> int:
    """Return how many batches of `size` images take about a fifth of a second, at least 20.

    A program's first steps take longer, as its memory is new to the system each time.
    """
    per_second = 4e10 / (3 * flops(network))
    return max(20, min(400, round(0.2 * per_second / size)))


def training(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[Epoch, float]:
    """Return an epoch of momentum SGD as one program, and how many seconds it took to compile.

    Args:
        network: What to train, from new parameters.
        images: Of shape (batches, N, C, H, W).
        labels: Of shape (batches, N).
    """
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = fgrad.make_step(functools.partial(loss, network), optimizer)
    state = fgrad.init_state(parameters(network), optimizer)
    batches = jax.device_put((images, labels))

    start = time.perf_counter()
    # The state that goes in is not used again: as in PyTorch, the new one may take its place.
    program = jax.jit(functools.partial(fgrad.fit, step, epochs=1), donate_argnums=0)
    compiled = program.lower(state, batches).compile()
    seconds = time.perf_counter() - start

    def epoch() -> float:
        nonlocal state
        state, history = compiled(state, batches)
        return float(history["loss"][0, -1])

    return epoch, seconds


def inference(network: Network, images: np.ndarray, calls: int) -> Epoch:
    """Return `calls` calls of the compiled network on one batch, one after the other."""
    params, x = parameters(network), jax.device_put(images)
    forward = jax.jit(functools.partial(apply, network))

    def epoch() -> float:
        for _ in range(calls):
            scores = forward(params, x)
        return float(scores[0, 0])

    return epoch
