"""What a case of the corpus is made of."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fgrad import parity
from fgrad.parity import Report

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
    """The correct port of a PyTorch program, and its mistakes.

    Attributes:
        name: What it is called in the table, and the program in `torch_programs`.
        batches: Makes the batches, one a step.
        port: The correct port.
        mistakes: What to put in its place.
    """

    name: str
    batches: Callable[[np.random.Generator], Batches]
    port: Port
    mistakes: Sequence[Mistake]

    @property
    def recording(self) -> str:
        """The program's recording among tests/references."""
        return f"parity_corpus_{self.name.lower()}.safetensors"


def check(
    net: Net, path: Path, seed: int = 0, changes: Mapping[str, Any] | None = None, **options: Any
) -> Report:
    """Check a net's port, with parts of it replaced, under the settings that a user has."""
    port = dataclasses.replace(net.port, **(changes or {}))
    if port.own_batches:
        options["batches"] = port.own_batches(net.batches(np.random.default_rng(seed)))
    # optax's Adam needs the promotion that the tests forbid.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return parity.check(
            path, port.apply, port.loss, port.optimizer, **{**options, **port.options}
        )


def reversed_batches() -> dict[str, Any]:
    """Return the change that feeds the batches in reverse order."""
    return {"own_batches": lambda batches: batches[::-1]}


def shuffled_samples() -> dict[str, Any]:
    """Return the change that feeds every batch's samples in reverse order."""
    return {"own_batches": lambda batches: [(x[::-1], y[::-1]) for x, y in batches]}
