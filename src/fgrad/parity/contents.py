"""What is in a recording, as text."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from fgrad.parity.recording import Recording
from fgrad.parity.report import aligned, number


def contents(recording: Recording) -> str:
    """Return what a recording holds: names and shapes to map, settings to port, losses to reach.

    Args:
        recording: From `recording.read`.

    Returns:
        Lines for a terminal, without a newline at the end.

    Example:
        >>> weight = np.zeros((1, 3), np.float32)
        >>> recording = Recording(
        ...     "line.parity", {"weight": weight}, (), {"float32": ()}, ("weight",), (), {},
        ...     {"": {"kind": "Linear", "config": {"in_features": 3}}},
        ...     {"kind": "MSELoss", "config": {}},
        ...     {"kind": "SGD", "groups": [{"names": ["weight"], "options": {"lr": 0.1}}]},
        ...     {"torch": "2.13.0"},
        ... )
        >>> print(contents(recording))
        line.parity: 0 steps, 0 batches, 1 parameters of 3 numbers
        recorded with torch 2.13.0
        loss: MSELoss()
        optimizer: SGD(lr=0.1)
        <BLANKLINE>
        module   kind
        (model)  Linear(in_features=3)
        <BLANKLINE>
        entry   shape   dtype
        weight  (1, 3)  float32
    """
    steps = recording.steps["float32"]
    count = sum(recording.initial[name].size for name in recording.parameters)
    versions = ", ".join(f"{name} {value}" for name, value in recording.settings.items())
    blocks = [
        [
            f"{recording.path}: {len(steps)} steps, {len(recording.batches)} batches, "
            f"{len(recording.parameters)} parameters of {count} numbers",
            f"recorded with {versions}",
            f"loss: {_call(recording.loss)}",
            *_optimizer(recording.optimizer),
        ],
        aligned(
            ("module", "kind"),
            [(name or "(model)", _call(module)) for name, module in recording.modules.items()],
        ),
        aligned(
            ("entry", "shape", "dtype"),
            [(name, str(a.shape), str(a.dtype)) for name, a in recording.initial.items()],
        ),
    ]
    if steps:
        rows = [
            (
                str(i),
                str(step.batch),
                *_shapes(recording.batches[step.batch]),
                number(step.loss.item()),
            )
            for i, step in enumerate(steps)
        ]
        blocks.append(aligned(("step", "batch", "x", "target", "loss"), rows))
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _call(thing: dict[str, Any]) -> str:
    """Write a module or an optimizer with its settings, without those that are off."""
    config = dict(thing["config"])
    mode = "" if config.pop("training", True) else " in evaluation"
    config = {name: value for name, value in config.items() if value not in (None, False)}
    return f"{thing['kind']}({', '.join(f'{k}={v}' for k, v in config.items())}){mode}"


def _optimizer(optimizer: dict[str, Any]) -> Iterator[str]:
    groups = optimizer["groups"]
    for group in groups:
        call = _call({"kind": optimizer["kind"], "config": group["options"]})
        yield f"optimizer: {call}" + (f" of {', '.join(group['names'])}" if len(groups) > 1 else "")


def _shapes(batch: tuple[Any, Any]) -> Iterator[str]:
    for part in batch:
        yield " ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(part))
