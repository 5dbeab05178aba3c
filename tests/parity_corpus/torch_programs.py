"""The corpus's PyTorch programs, which only recording needs."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fgrad import parity
from parity_corpus import NETS, Net, lenet, linear, mlp, quadratic, transformer


class Program(NamedTuple):
    """What a net's port is a port of.

    Attributes:
        model: Makes the module from PyTorch's generator.
        criterion: PyTorch's loss.
        optimizer: Makes PyTorch's optimizer from parameters.
    """

    model: Callable[[], torch.nn.Module]
    criterion: Callable[..., Any]
    optimizer: Callable[[Any], torch.optim.Optimizer]


class LeNet(torch.nn.Module):
    """A small LeNet."""

    def __init__(self) -> None:
        """Draw the weights; the first filters are sixteenths, as after quantisation."""
        super().__init__()
        nn = torch.nn
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.relu2 = nn.ReLU()
        self.fc1 = nn.Linear(16, 16)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(16, 5)
        with torch.no_grad():
            self.conv1.weight.copy_((self.conv1.weight * 8).round() / 16)
            self.conv1.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of five classes."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.relu2(self.conv2(x)).flatten(1)
        return self.fc2(self.relu3(self.fc1(x)))


class MLP(torch.nn.Module):
    """An MLP with BatchNorm and dropout."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        nn = torch.nn
        self.fc1 = nn.Linear(6, 6)
        self.bn1 = nn.BatchNorm1d(6)
        self.relu1 = nn.ReLU()
        self.drop1 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return three scores."""
        return self.fc2(self.drop1(self.relu1(self.bn1(self.fc1(x)))))


class Quadratic(torch.nn.Module):
    """A parabola."""

    def __init__(self) -> None:
        """Draw the three parameters."""
        super().__init__()
        self.w1 = torch.nn.Parameter(torch.randn(1))
        self.w2 = torch.nn.Parameter(torch.randn(1))
        self.b = torch.nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the parabola's values."""
        return self.w1 * x**2 + self.w2 * x + self.b


class Block(torch.nn.Module):
    """A pre-norm transformer block."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        nn = torch.nn
        self.ln1 = nn.LayerNorm(transformer.WIDTH)
        self.q = nn.Linear(transformer.WIDTH, transformer.WIDTH)
        self.k = nn.Linear(transformer.WIDTH, transformer.WIDTH)
        self.v = nn.Linear(transformer.WIDTH, transformer.WIDTH)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(transformer.WIDTH, transformer.WIDTH)
        self.ln2 = nn.LayerNorm(transformer.WIDTH)
        self.fc1 = nn.Linear(transformer.WIDTH, 2 * transformer.WIDTH)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(2 * transformer.WIDTH, transformer.WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return tokens of the same shape, (samples, tokens, width)."""
        y = self.ln1(x)
        q, k, v = (
            layer(y).unflatten(-1, (transformer.HEADS, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        attention = self.softmax(
            q @ k.transpose(2, 3) * (transformer.WIDTH // transformer.HEADS) ** -0.5
        )
        x = x + self.out((attention @ v).transpose(1, 2).flatten(2))
        return x + self.fc2(self.gelu(self.fc1(self.ln2(x))))


PROGRAMS = {
    "linear": Program(
        lambda: torch.nn.Linear(3, 3),
        torch.nn.MSELoss(),
        functools.partial(torch.optim.SGD, **linear.SGD),
    ),
    "quadratic": Program(
        Quadratic,
        torch.nn.MSELoss(reduction="sum"),
        functools.partial(torch.optim.SGD, **quadratic.SGD),
    ),
    "LeNet": Program(
        LeNet, torch.nn.CrossEntropyLoss(), functools.partial(torch.optim.SGD, lr=lenet.LR)
    ),
    "MLP": Program(
        MLP,
        torch.nn.CrossEntropyLoss(),
        functools.partial(torch.optim.Adam, lr=mlp.LR, weight_decay=mlp.DECAY),
    ),
    "transformer": Program(
        Block,
        torch.nn.MSELoss(),
        functools.partial(
            torch.optim.AdamW,
            lr=transformer.ADAMW["learning_rate"],
            weight_decay=transformer.ADAMW["weight_decay"],
        ),
    ),
}


def record(net: Net, seed: int, path: Path, *, steps: int | None = None) -> Path:
    """Record a net's program from a seed."""
    program = PROGRAMS[net.name]
    torch.manual_seed(seed)
    model = program.model()
    batches = [
        (torch.from_numpy(x), torch.from_numpy(y))
        for x, y in net.batches(np.random.default_rng(seed))
    ]
    optimizer = program.optimizer(model.parameters())
    parity.record(model, program.criterion, optimizer, batches, path=path, steps=steps)
    return path


def record_all(folder: Path) -> None:
    """Record every net from seed 0, as the default tests read it."""
    for net in NETS:
        record(net, 0, folder / net.recording)
