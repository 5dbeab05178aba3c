"""A small LeNet on binary images with quantised filters, so that kinks and ties do occur."""

import functools
from typing import Any

import jax
import numpy as np
import optax
from jax.ad_checkpoint import checkpoint_name

from fgrad.optim import sgd
from parity_corpus import layers
from parity_corpus.cases import Batches, Mistake, Net, Port, reversed_batches

LR = 0.05


def batches(rng: np.random.Generator) -> Batches:
    """Return two batches of four 8x8 images, one pixel in five white."""
    return [
        ((rng.random((4, 1, 8, 8)) < 0.2).astype(np.float32), rng.integers(0, 5, 4))
        for _ in range(2)
    ]


def apply(params: Any, x: jax.Array, **mistakes: str) -> jax.Array:
    """The port, its values named as in PyTorch."""

    def mistake(layer: str) -> str:
        return mistakes.get(layer, "")

    x = checkpoint_name(layers.conv2d(params["conv1"], x, mistake=mistake("conv1")), "conv1")
    x = checkpoint_name(layers.relu(x, mistake("relu1")), "relu1")
    x = checkpoint_name(layers.max_pool2d(x, mistake("pool1")), "pool1")
    x = layers.conv2d(params["conv2"], x, stride=2, mistake=mistake("conv2"))
    x = checkpoint_name(x, "conv2")
    x = checkpoint_name(layers.relu(x, mistake("relu2")), "relu2")
    if mistake("flatten") == "NHWC":
        x = x.transpose(0, 2, 3, 1)
    x = x.reshape(len(x), -1)
    x = checkpoint_name(layers.linear(params["fc1"], x, mistake("fc1")), "fc1")
    x = checkpoint_name(layers.relu(x, mistake("relu3")), "relu3")
    return checkpoint_name(layers.linear(params["fc2"], x, mistake("fc2")), "fc2")


def forward(what: str, layer: str, mistake: str, cause: str) -> Mistake:
    """Return a mistake that shows in the layer's output."""
    place = "fc1" if layer == "flatten" else layer
    changes: dict[str, Any] = {"apply": functools.partial(apply, **{layer: mistake})}
    if mistake == "TF32":
        changes["options"] = {"dtypes": ("float32",)}
    return Mistake(what, changes, 0, "forward", place, cause)


def backward(what: str, layer: str, mistake: str, place: str, cause: str) -> Mistake:
    """Return a mistake that shows in a gradient only."""
    changes = {"apply": functools.partial(apply, **{layer: mistake})}
    return Mistake(what, changes, 0, "gradient", place, cause)


def in_loss(what: str, mistake: str, cause: str) -> Mistake:
    """Return a mistake in the loss."""
    changes = {"loss": functools.partial(layers.cross_entropy, mistake=mistake)}
    return Mistake(what, changes, 0, "loss", "loss", cause)


def in_weights(what: str, entry: str, convert: Any, cause: str) -> Mistake:
    """Return a mistake in the conversion of an entry."""
    options = {"params": lambda state: nested({**state, entry: convert(state[entry])})}
    return Mistake(what, {"options": options}, 0, "initial weights", entry, cause)


def nested(state: Any) -> dict[str, dict[str, Any]]:
    """Return the entries by layer."""
    params: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        layer, _, entry = name.partition(".")
        params.setdefault(layer, {})[entry] = value
    return params


def height_width_channel(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Order the columns of a layer after a flattened NHWC image of four channels, 2x2."""
    return weight.reshape(-1, 4, 2, 2).transpose(0, 2, 3, 1).reshape(weight.shape)


def labels_of_the_next(batches: Batches) -> Batches:
    """Shift the labels against the images."""
    return [(x, np.roll(y, 1)) for x, y in batches]


NET = Net(
    name="LeNet",
    batches=batches,
    port=Port(apply, layers.cross_entropy, sgd(LR)),
    mistakes=[
        in_weights(
            "filters' rows and columns exchanged",
            "conv1.weight",
            lambda weight: weight.swapaxes(2, 3),
            "transposed weight",
        ),
        in_weights(
            "filters' channels in and out exchanged",
            "conv2.weight",
            lambda weight: weight.swapaxes(0, 1),
            "transposed weight",
        ),
        in_weights(
            "filters turned by half a turn",
            "conv2.weight",
            lambda weight: weight[:, :, ::-1, ::-1],
            "flipped kernel",
        ),
        in_weights(
            "a square layer's weight transposed",
            "fc1.weight",
            lambda weight: weight.T,
            "transposed weight",
        ),
        in_weights(
            "columns in the order of an NHWC image",
            "fc1.weight",
            height_width_channel,
            "flatten order",
        ),
        in_weights(
            "drawn anew",
            "conv1.weight",
            lambda weight: np.random.default_rng(9).normal(0, 0.3, weight.shape).astype("f4"),
            "other initial weights",
        ),
        Mistake("batches in another order", reversed_batches(), 0, "batch", "x", "other shuffle"),
        Mistake(
            "labels shifted by one",
            {"own_batches": labels_of_the_next},
            0,
            "batch",
            "target",
            "other shuffle",
        ),
        forward("convolution, not correlation", "conv1", "flipped", "flipped kernel"),
        forward("SAME for padding 1, at stride 2", "conv2", "SAME", "padding"),
        forward("edges repeated for zeros", "conv1", "edge", "padding"),
        forward("edges reflected for zeros", "conv1", "reflect", "padding"),
        forward("wrapped around for zeros", "conv1", "wrap", "padding"),
        forward("no bias in a convolution", "conv2", "no bias", "missing bias"),
        forward("bias added twice", "conv2", "bias twice", "doubled bias"),
        forward("no bias in the last layer", "fc2", "no bias", "missing bias"),
        forward("flattened from NHWC", "flatten", "NHWC", "flatten order"),
        forward("x @ weight", "fc1", "transposed", "transposed weight"),
        forward("convolution in bfloat16", "conv2", "bfloat16", "reduced precision"),
        forward("product in TF32", "fc1", "TF32", "reduced precision"),
        backward("relu as maximum(x, 0)", "relu1", "maximum", "conv1.bias", "kink gradient"),
        backward("relu as where(x >= 0)", "relu1", "where", "conv1.bias", "kink gradient"),
        backward(
            "relu as (x + |x|) / 2",
            "relu1",
            "mean with its magnitude",
            "conv1.bias",
            "kink gradient",
        ),
        backward(
            "pool by reshape and max", "pool1", "reshape and max", "conv1.weight", "tie gradient"
        ),
        backward("pool by pairs of maxima", "pool1", "pairs", "conv1.weight", "tie gradient"),
        in_loss("sum over the batch", "sum", "loss reduction"),
        in_loss("softmax over the batch", "over the batch", "softmax axis"),
        in_loss("softmax before the loss", "softmax twice", "softmax twice"),
        Mistake(
            "learning rate divided by the batch's size",
            {"optimizer": sgd(LR / 4)},
            0,
            "update",
            "conv1.weight",
            "learning rate",
        ),
        Mistake(
            "weight decay 5e-4 added",
            {"optimizer": sgd(LR, weight_decay=5e-4)},
            0,
            "update",
            "conv1.weight",
            "weight decay",
        ),
        Mistake(
            "momentum 0.9 added",
            {"optimizer": sgd(LR, momentum=0.9)},
            0,
            "optimizer state",
            "conv1.weight.momentum_buffer",
            "momentum",
        ),
        Mistake(
            "every other gradient left for later",
            {"optimizer": optax.MultiSteps(sgd(LR), every_k_schedule=2)},
            0,
            "update",
            "conv1.weight",
            "gradient accumulated",
        ),
    ],
)
