"""How fast LeNet trains as the batch grows, and as the network does."""

import fgrad_networks
import numpy as np
import pytorch_networks
import torch
from fgrad_networks import batches_of
from matplotlib.figure import Figure
from measure import against_the_best
from networks import LENET, Network, random_batches
from pytorch_networks import Variant

SIZES = [1, 4, 16, 64, 256, 1024]
WIDTHS = [0.5, 1.0, 2.0, 4.0, 8.0]

Rows = list[tuple[float, float, float]]
"""What is varied, PyTorch's images a second and fgrad's."""


def measured(device: torch.device) -> tuple[Rows, Rows]:
    """Return how the speed changes with the batch's size, and with the network's width.

    Args:
        device: PyTorch's.
    """
    by_size = [(float(size), *_speeds(LENET, size, device)) for size in SIZES]
    return by_size, [(width, *_speeds(LENET.wider(width), 64, device)) for width in WIDTHS]


def _speeds(network: Network, size: int, device: torch.device) -> tuple[float, float]:
    """Return images a second of PyTorch, plain or channels_last, and of fgrad."""
    count = batches_of(network, size)
    data = random_batches(network, size, count)
    ours, _ = fgrad_networks.training(network, *data)
    theirs = {
        name: pytorch_networks.training(
            Variant(name, device), pytorch_networks.module(network), *data
        )
        for name in ("plain", "channels_last")
    }
    _, other, own = against_the_best(ours, theirs, rounds=3)
    images = count * size
    return images / float(np.median(other)), images / float(np.median(own))


def figure(by_size: Rows, by_width: Rows) -> Figure:
    """Draw how the speed grows with the batch and falls with the width."""
    drawn = Figure(figsize=(10, 4), layout="constrained")
    axes = drawn.subplots(1, 2, sharey=True)
    for axis, rows, label in zip(
        axes,
        (by_size, by_width),
        ("images in a batch", "width (1: LeNet's own), batches of 64"),
        strict=True,
    ):
        values, theirs, ours = zip(*rows, strict=True)
        axis.loglog(values, ours, "o-", color="#0b6e99", label="fgrad")
        axis.loglog(values, theirs, "s--", color="#d9730d", label="PyTorch, the best of two")
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("LeNet, images trained a second")
    axes[0].legend()
    return drawn
