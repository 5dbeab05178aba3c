"""What PyTorch makes of the notes' networks, from seeds alone."""

import itertools
import json
import platform
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

STEPS = 100

# A seed, and torch.optim.SGD's arguments; rates are small, because a loss shrunk to 1e-4 is the
# difference of numbers of order one, and has no more than three digits in float32.
RUNS: list[tuple[int, dict[str, Any]]] = [
    (0, {"lr": 0.01}),
    (1, {"lr": 0.002, "momentum": 0.9}),
    (-2, {"lr": 0.02, "weight_decay": 0.01}),
    (2**63 + 5, {"lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}),
]


def new_net(net: str) -> nn.Sequential:
    """Return a new network of the notes, drawn from PyTorch's generator."""
    size = {"lenet": 5, "convnet": 3}[net]
    widths = {"lenet": [400, 120, 84, 10], "convnet": [12544, 512, 64, 2]}[net]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (before, after) in enumerate([(1, 6), (6, 16)], 1):
        layers[f"conv{i}"] = nn.Conv2d(before, after, size)
        layers[f"conv_relu{i}"] = nn.ReLU()
        if net == "lenet":
            layers[f"pool{i}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    for i, (before, after) in enumerate(itertools.pairwise(widths), 1):
        layers[f"fc{i}"] = nn.Linear(before, after)
        if i < 3:
            layers[f"fc_relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def train(net: str, seed: int, options: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Train on four batches of two, drawn after the network: scores by L1, classes by entropy."""
    torch.set_default_dtype(getattr(torch, dtype))
    torch.manual_seed(seed)
    model = new_net(net)
    images = torch.randn(4, 2, 1, 32, 32)
    targets = torch.randn(4, 2, 2) if net == "convnet" else torch.randint(0, 10, (4, 2))
    criterion = nn.L1Loss() if net == "convnet" else nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), **options)
    losses = []
    for step in range(STEPS):
        loss = criterion(model(images[step % 4]), targets[step % 4])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_default_dtype(torch.float32)
    norms = {name: value.double().norm().item() for name, value in model.state_dict().items()}
    run = {"net": net, "seed": seed, "dtype": dtype, "options": options}
    return {**run, "loss": losses, "norms": norms}


def notes(seed: int) -> dict[str, Any]:
    """Run the two notes' programs as they stand."""
    torch.manual_seed(seed)
    model = new_net("convnet")
    x, target = torch.randn(1, 1, 32, 32), torch.randn(2).view(1, -1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = model(x)
    loss = nn.functional.l1_loss(before, target)
    torch.autograd.backward(loss)
    optimizer.step()
    after = model(x)
    losses = [loss.item(), nn.functional.l1_loss(after, target).item()]
    convnet = {
        "target": target.tolist(),
        "output_before": before.tolist(),
        "output_after": after.tolist(),
        "loss": losses,
    }
    torch.manual_seed(seed)
    model = new_net("lenet")
    output = model(torch.randn(1, 1, 32, 32))
    cotangent = torch.randn(1, 10)
    output.backward(cotangent)
    norms = {
        name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None
    }
    lenet = {"output": output.tolist(), "cotangent": cotangent.tolist(), "gradient_norms": norms}
    return {"seed": seed, "convnet": convnet, "lenet": lenet}


def record(folder: Path) -> None:
    """Write cnn.json."""
    recorded = {
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "notes": [notes(seed) for seed in (0, 7)],
        "runs": [
            train(net, seed, options, dtype)
            for net in ("lenet", "convnet")
            for seed, options in RUNS
            for dtype in ("float64", "float32")
        ],
    }
    (folder / "cnn.json").write_text(json.dumps(recorded) + "\n")
