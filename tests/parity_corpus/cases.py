"""What a case of the corpus is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Batches = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


@dataclass(frozen=True)
class Port:
    """What a user hands to `fgrad.parity.check`, besides the recording.

    Attributes:
        apply: The model.
        loss: The criterion.
        optimizer: An optax transformation.
        options: Further arguments of `check`.
        own_batches: What the port makes of the recorded batches, where it feeds its own.
    """

    apply: Callable[..., Any]
    loss: Callable[..., Any]
    optimizer: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    own_batches: Callable[[Batches], Batches] | None = None


@dataclass(frozen=True)
class Mistake:
    """One mistake in a port, and what has to be said of it.

    Attributes:
        what: The mistake, in the words of somebody who finds it in his own code.
        changes: The fields of the correct `Port` that it replaces.
        step: The first step where it can be seen.
        stage: The stage of that step where it is seen first.
        place: PyTorch's name of the module, parameter or buffer.
        cause: Its name; None where it is none of the known ones, so that naming one is wrong.
    """

    what: str
    changes: Mapping[str, Any]
    step: int
    stage: str
    place: str
    cause: str | None


@dataclass(frozen=True)
class Net:
    """A PyTorch program, its correct port, and its mistakes.

    Attributes:
        name: What it is called in the table.
        model: Makes the module from PyTorch's generator.
        criterion: PyTorch's loss.
        optimizer: Makes PyTorch's optimizer from parameters.
        batches: Makes the batches, one a step.
        port: The correct port.
        mistakes: What to put in its place.
    """

    name: str
    model: Callable[[], Any]
    criterion: Callable[..., Any]
    optimizer: Callable[[Any], Any]
    batches: Callable[[np.random.Generator], Batches]
    port: Port
    mistakes: Sequence[Mistake]


def reversed_batches() -> dict[str, Any]:
    """Return the change that feeds the batches in reverse order."""
    return {"own_batches": lambda batches: batches[::-1]}


def shuffled_samples() -> dict[str, Any]:
    """Return the change that feeds every batch's samples in reverse order."""
    return {"own_batches": lambda batches: [(x[::-1], y[::-1]) for x, y in batches]}
