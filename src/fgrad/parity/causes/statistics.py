"""Why BatchNorm's running statistics differ."""

from collections.abc import Iterator

import numpy as np

from fgrad.parity.causes.evidence import Evidence, Hypothesis
from fgrad.parity.causes.formulas import Setting
from fgrad.parity.causes.mistakes import Table, hypotheses
from fgrad.parity.recording import NumPy
from fgrad.parity.results import Cause

_TABLE: Table = {
    ("BatchNorm mode", "{module}: keep the new running statistics, as in train()"): {
        "{place} is not updated, as in evaluation": {"momentum": [0.0]}
    },
    (
        "BatchNorm momentum",
        "{module}: PyTorch's momentum {torch.momentum:g} weighs the new value; in Flax it weighs "
        "the old one, momentum={torch.flax:g}",
    ): {
        "{place} takes {port.momentum:g} of the batch's, PyTorch takes {torch.momentum:g}": {
            "momentum": [lambda torch: torch.flax, 0.99, 0.01, 0.9, 0.1, 0.999, 0.001, 1.0]
        }
    },
    ("biased variance", "{module}: keep the batch's variance over n - 1, as PyTorch does"): {
        "{place} takes the biased variance of the batch": {"new": [lambda torch: torch.biased]},
        "{place} takes the standard deviation": {"new": [lambda torch: torch.deviation]},
    },
}


def explain(evidence: Evidence) -> Cause | None:
    """Return the mistake behind other running statistics.

    Args:
        evidence: The mismatch and its port.

    Returns:
        The cause, or None.
    """
    place = evidence.first.place
    state = evidence.checked.buffers.to_torch(evidence.forward.state)
    expected = evidence.step.after[place]
    return evidence.explain(place, _of_statistics(evidence, place), state[place], expected)


def running(old: NumPy, new: NumPy, momentum: float, **_: Setting) -> NumPy:
    """Return a running statistic after a batch, whose own is `new`.

    Example:
        >>> running(np.zeros(1), np.ones(1), 0.1)
        array([0.1])
    """
    return old + (new - old) * np.asarray(momentum, old.dtype)


def _of_statistics(evidence: Evidence, place: str) -> Iterator[Hypothesis]:
    module, _, name = place.rpartition(".")
    momentum = evidence.checked.recording.modules[module]["config"].get("momentum")
    old, after = evidence.step.before[place], evidence.step.after[place]
    if momentum in (None, 0) or name not in ("running_mean", "running_var"):
        return
    (x, *_) = next(call.inputs for call in evidence.step.calls if call.module == module)
    new = old + (after - old) / np.asarray(momentum, old.dtype)
    right = {"old": old, "new": new, "momentum": momentum, "flax": 1 - momentum}
    right |= {"biased": new, "deviation": new}  # of a mean there are none
    if name == "running_var":
        right |= {"biased": x.var((0, *range(2, x.ndim))), "deviation": np.sqrt(new)}
    yield from hypotheses(running, _TABLE, right, place=place, module=module)
