"""Why a layer's value differs: first its own formula with a mistake, then the port's weights."""

from collections.abc import Iterator

import numpy as np

from fgrad.parity.causes.evidence import Evidence, distance, leaf_calls
from fgrad.parity.causes.layer import Layer
from fgrad.parity.causes.layers import formulas
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
        layer = _layer(evidence, call)
        value = actual if own else None
        found = evidence.explain(call.place, formulas(layer), value, call.outputs[0])
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


def _layer(evidence: Evidence, call: Call) -> Layer:
    module = evidence.checked.recording.modules[call.module]
    entries = {
        name.rpartition(".")[2]: value
        for name, value in evidence.step.before.items()
        if name.rpartition(".")[0] == call.module
    }
    return Layer(call, module["kind"], module["config"], entries, evidence.step)


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
    before = evidence.step.before
    recording = evidence.checked.recording
    for name in recording.parameters:
        value = before[name]
        others: list[tuple[str, str, NumPy]] = []
        if value.ndim >= 2 and value.shape[0] == value.shape[1]:
            others.append(("transposed weight", "transposed", np.swapaxes(value, 0, 1)))
        if value.ndim >= 4:
            axes = tuple(range(2, value.ndim))
            others.append(("flipped kernel", "turned around", np.flip(value, axes)))
            if value.shape[-1] == value.shape[-2]:
                swapped = np.swapaxes(value, -1, -2)
                others.append(("transposed weight", "with rows and columns exchanged", swapped))
        if value.ndim == 2:
            others.append(("permuted weight", "with its rows reversed", value[::-1]))
            others.append(("permuted weight", "with its columns reversed", value[:, ::-1]))
        if value.ndim == 1:
            others.append(("doubled bias", "twice", value / 2))
        for cause, what, other in others:
            yield (
                cause,
                name,
                f"the port uses {name} {what}",
                f"use {name} as PyTorch does, and not {what}",
                {**before, name: np.ascontiguousarray(other)},
            )
    for i, one in enumerate(recording.parameters):
        for other_name in recording.parameters[i + 1 : i + 9]:
            if before[one].shape == before[other_name].shape:
                yield (
                    "swapped weights",
                    one,
                    f"the port uses {other_name} in place of {one}, and the other way round",
                    f"exchange {one} and {other_name} where the port uses them",
                    {**before, one: before[other_name], other_name: before[one]},
                )
