"""Why BatchNorm's running statistics differ."""

from collections.abc import Iterator

import numpy as np

from fgrad.parity.causes.evidence import Evidence, Hypothesis
from fgrad.parity.results import Cause


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


def _of_statistics(evidence: Evidence, place: str) -> Iterator[Hypothesis]:
    module, _, name = place.rpartition(".")
    config = evidence.checked.recording.modules[module]["config"]
    momentum = config.get("momentum")
    before, after = evidence.step.before[place], evidence.step.after[place]
    if momentum in (None, 0) or name not in ("running_mean", "running_var"):
        return
    (x, *_) = next(call.inputs for call in evidence.step.calls if call.module == module)
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]
    statistic = before + (after - before) / np.asarray(momentum, before.dtype)
    yield Hypothesis(
        "BatchNorm mode",
        f"{place} is not updated, as in evaluation",
        f"{module}: keep the new running statistics, as in train()",
        before,
    )
    for other in (1 - momentum, 0.99, 0.01, 0.9, 0.1, 0.999, 0.001, 1.0):
        value = before + (statistic - before) * np.asarray(other, before.dtype)
        yield Hypothesis(
            "BatchNorm momentum",
            f"{place} takes {other:g} of the batch's statistic, PyTorch takes {momentum:g}",
            f"{module}: PyTorch's momentum {momentum:g} weighs the new value; in Flax it weighs "
            f"the old one, momentum={1 - momentum:g}",
            value,
        )
    if name == "running_var":
        biased = before + (x.var(axes) - before) * np.asarray(momentum, before.dtype)
        yield Hypothesis(
            "biased variance",
            f"{place} takes the biased variance of the batch, over {count}",
            f"{module}: multiply the variance that is kept by {count} / ({count} - 1)",
            biased,
        )
        deviation = before + (np.sqrt(statistic) - before) * np.asarray(momentum, before.dtype)
        yield Hypothesis(
            "biased variance",
            f"{place} takes the standard deviation of the batch",
            f"{module}: keep the variance",
            deviation,
        )
