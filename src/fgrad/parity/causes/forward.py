"""Why a layer's value differs: first its own formula with a mistake, then the port's weights."""

from collections.abc import Iterator

import numpy as np

from fgrad.parity.causes.evidence import Evidence, distance, leaf_calls
from fgrad.parity.causes.layers import of_call
from fgrad.parity.causes.rearranged import rearrangements
from fgrad.parity.recording import Call, NumPy
from fgrad.parity.results import Cause


def explain(evidence: Evidence) -> Cause | None:
    """Return the mistake behind a first difference in the forward pass.

    Args:
        evidence: The mismatch and its port.

    Returns:
        The cause, or None.
    """
    place = evidence.first.place.partition("/")[0]
    actual = evidence.values.get(place)
    ending = [call for call in evidence.step.calls if call.place == place]
    if actual is None or not ending:
        return None
    expected = ending[0].outputs[0]
    for call in _suspects(evidence, ending[0]):
        # The value itself if it is compared, else whatever the port computes on the way to it.
        own = call.place == place or np.array_equal(call.outputs[0], expected)
        module = evidence.checked.recording.modules[call.module]
        tried = of_call(call, module, evidence.step)
        found = evidence.explain(call.place, tried, actual if own else None, call.outputs[0])
        if found is not None:
            return found
    return _repaired(evidence, place, expected, distance(actual, expected))


def _suspects(evidence: Evidence, ending: Call) -> list[Call]:
    """Return the calls that may be wrong: up to the mismatch, those not known to be right."""
    right = {
        each.place
        for each in evidence.comparisons
        if (each.step, each.stage, each.dtype) == (evidence.first.step, "forward", evidence.dtype)
        and each.ok
    }
    leaves = leaf_calls(evidence)
    index = {call.place: i for i, call in enumerate(evidence.step.calls)}
    last = index[ending.place]
    suspects = []
    for call in leaves:
        if index[call.place] > last or call.place in right:
            continue
        if (
            call.place == ending.place
            or evidence.is_inside(call.outputs[0], _near(evidence, call)) is None
        ):
            suspects.append(call)
    # The named layer itself first.
    return sorted(suspects, key=lambda call: (call.place != ending.place, index[call.place]))


def _near(evidence: Evidence, call: Call) -> float:
    noise = call.noise[0] if call.noise else 0.0
    return max(8 * noise, evidence.rounding(call.outputs[0]))


def _repaired(evidence: Evidence, place: str, expected: NumPy, before: float) -> Cause | None:
    """Give the port other weights, until it computes what PyTorch does."""
    limit = max(evidence.first.tolerance, evidence.rounding(expected))
    if before <= limit:  # of several outputs another one differs
        return None
    for name, parameter, explanation, fix, entries in _changes(evidence):
        evidence.try_(name)
        after = distance(evidence.places(evidence.rerun(entries))[place], expected)
        if after <= max(limit, 1e-6 * before):
            return Cause(name, parameter, explanation, fix, before, after)
    return None


def _changes(evidence: Evidence) -> Iterator[tuple[str, str, str, str, dict[str, NumPy]]]:
    """Yield weights that make up for a mistake in the port's use of them."""
    before, names = evidence.step.before, evidence.checked.recording.parameters
    for name in names:
        others = [*rearrangements(before[name])]
        if before[name].ndim == 1:
            others.append(("doubled bias", "twice", before[name] / 2))
        for cause, what, other in others:
            explanation, fix = f"the port uses {name} {what}", f"use {name} as PyTorch does"
            yield cause, name, explanation, fix, {**before, name: np.ascontiguousarray(other)}
    for i, one in enumerate(names):
        for two in names[i + 1 : i + 9]:
            if before[one].shape == before[two].shape:
                explanation = f"the port uses {two} in place of {one}, and the other way round"
                fix = f"exchange {one} and {two} where the port uses them"
                swapped = {**before, one: before[two], two: before[one]}
                yield "swapped weights", one, explanation, fix, swapped
