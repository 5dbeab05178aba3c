"""What PyTorch makes of the nn.Linear(1, 1) program, and the order of its sums."""

import json
import platform
from pathlib import Path
from typing import Any

import torch

from fgrad import strict

# Seeds of every kind that torch.manual_seed takes; data of the notes and of other sizes.
RUNS: list[dict[str, Any]] = [
    {"seed": 0, "lr": 0.01, "x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]},
    {"seed": -5, "lr": 0.02, "x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]},
    {"seed": 2**40 + 7, "lr": 0.01, "x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]},
    {"seed": 1, "lr": 0.1, "x": [0.3], "y": [-0.7]},
    {"seed": 2, "lr": 0.01, "x": [0.1, -0.4, 2.5, 1.1, 0.6], "y": [1.3, 0.2, -0.9, 0.4, 1.0]},
    {
        "seed": 3,
        "lr": 0.001,
        "x": [i / 7 - 3 for i in range(40)],
        "y": [(i * i % 11) / 3 for i in range(40)],
    },
]
EPOCHS = 60


def train(seed: int, lr: float, x: list[float], y: list[float]) -> dict[str, object]:
    """Train nn.Linear(1, 1) on a sum of squares, as the lesson on nn.Linear does."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(1, 1)
    start = [model.weight.item(), model.bias.item()]
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    inputs, targets = torch.tensor(x)[:, None], torch.tensor(y)[:, None]
    losses = []
    for _ in range(EPOCHS):
        loss = criterion(model(inputs), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    final = [model.weight.item(), model.bias.item()]
    prediction = model(torch.tensor([[4.0]])).item()
    return {"start": start, "loss": losses, "final": final, "prediction": prediction}


def sums() -> list[dict[str, float]]:
    """Record torch.sum of i * 7919 % 1000 / 1000, for lengths around its algorithm's steps."""
    lengths = [1, 3, 4, 5, 7, 8, 9, 31, 32, 33, 511, 512, 513, 5000, 40000]
    return [
        {"length": n, "sum": (torch.arange(n) * 7919 % 1000 / 1000).sum().item()} for n in lengths
    ]


def long_sum(seed: int, length: int) -> dict[str, float]:
    """Record torch.sum of more numbers than four levels of 16 hold, so that the last runs on."""
    torch.manual_seed(seed)
    return {"seed": seed, "length": length, "sum": torch.rand(length).sum().item()}


def record(folder: Path) -> None:
    """Write linear_module_intel.json or linear_module_amd.json, as this machine's processor is."""
    torch.set_num_threads(1)
    recorded = {
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "epochs": EPOCHS,
        "runs": [{**run, **train(**run)} for run in RUNS],
        "sums": sums(),
        "long sum": long_sum(0, 3_000_001),
    }
    (folder / f"linear_module_{strict.processor()}.json").write_text(
        json.dumps(recorded, indent=1) + "\n"
    )
