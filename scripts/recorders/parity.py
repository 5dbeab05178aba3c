"""PyTorch runs recorded by `fgrad.parity.record`: small, and of every kind of layer."""

import importlib
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from fgrad import parity

TESTS = Path(__file__).parents[2] / "tests"  # the corpus is theirs


def new_net() -> nn.Sequential:
    """Return a convolution, a normalisation and dropout in training, and two linear layers."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(1, 2, 3, padding=1),
        bn=nn.BatchNorm2d(2),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.25),
        fc1=nn.Linear(12, 6),
        gelu=nn.GELU(),
        ln=nn.LayerNorm(6),
        fc2=nn.Linear(6, 4),
    )
    return nn.Sequential(layers)


def record(folder: Path) -> None:
    """Write parity_net.safetensors, with AdamW, parity_line.safetensors, with SGD; the corpus."""
    torch.manual_seed(0)
    net = new_net()
    images = [(torch.randn(4, 1, 4, 6), torch.randint(0, 4, (4,))) for _ in range(2)]
    adamw = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    path = folder / "parity_net.safetensors"
    parity.record(net, nn.CrossEntropyLoss(), adamw, images, path=path, steps=3)
    line = nn.Linear(3, 3)
    points = [(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(3)]
    sgd = torch.optim.SGD(line.parameters(), lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01)
    path = folder / "parity_line.safetensors"
    parity.record(line, nn.MSELoss(), sgd, points, path=path)
    sys.path.append(str(TESTS))
    importlib.import_module("parity_corpus.torch_programs").record_all(folder)
