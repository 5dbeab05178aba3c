"""A port's steps, each value compared as it comes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from fgrad.parity.buffers import find_buffers
from fgrad.parity.compare import Slot, compare
from fgrad.parity.names import Names
from fgrad.parity.recording import NumPy, Step
from fgrad.parity.results import Comparison
from fgrad.parity.running import (
    Check,
    Forward,
    advance,
    begin,
    buffers_of,
    run_forward,
    weights_of,
)
from fgrad.types import Array, ArrayLike

_GROWTH = 8.0


def compare_run(checked: Check, dtype: str) -> Iterator[list[Comparison]]:
    """Yield the comparisons of one step after the other, in one precision.

    Args:
        checked: What is checked.
        dtype: The precision.

    Yields:
        The step's comparisons.
    """
    recording, free = checked.recording, checked.free
    steps = recording.steps[dtype]
    params = weights_of(checked, steps[0].before)
    state = buffers_of(checked, steps[0].before)
    opt_state: Any = None
    for i, step in enumerate(steps):
        if not free:
            params, state = weights_of(checked, step.before), buffers_of(checked, step.before)
        with jax.enable_x64(dtype == "float64"):
            forward = run_forward(checked, step, params, state)
            if i == 0:
                opt_state = begin(checked.optimizer, checked.program.params, params)
            gradients = forward.gradients if free else checked.weights.to_port(step.gradients)
            after, opt_state = advance(
                checked.optimizer, checked.program.params, params, gradients, opt_state
            )
            forward, after, kept = jax.device_get((forward, after, opt_state))
        compared = _Compared(checked, i, dtype, step)
        compared.forward(forward)
        compared.gradients(forward)
        compared.buffers(kept, params)
        compared.updates(after, forward.state)
        yield compared.found
        params, state = after, forward.state


def named_values(names: Names, forward: Forward) -> dict[str, Array]:
    """Return a port's intermediates by PyTorch's places.

    Args:
        names: Which is which.
        forward: The port's run.

    Returns:
        The values, as they are in the port.
    """
    values: dict[str, Array] = {}
    for path, inner in forward.inner.items():
        if (place := names.of_module(path)) is not None:
            values[place] = inner
    for name, named in forward.named.items():
        values[names.of_name(name)] = named
    return values


class _Compared:
    """The comparisons of one step in one precision."""

    def __init__(self, checked: Check, i: int, dtype: str, step: Step) -> None:
        self.found: list[Comparison] = []
        self._checked, self._i, self._dtype, self._step = checked, i, dtype, step
        self._noise = step.noise
        if checked.free:  # errors grow from step to step, and one run tells their size roughly
            self._noise = {name: _GROWTH * drift for name, drift in step.drift.items()}

    def add(
        self,
        stage: str,
        place: str,
        expected: NumPy,
        actual: ArrayLike,
        noise: str,
        note: str = "",
        more: float = 0.0,
    ) -> None:
        slot = Slot(self._i, stage, place, self._dtype)
        tolerance = self._checked.tolerance
        self.found.append(
            compare(slot, expected, np.asarray(actual), self._noise[noise] + more, tolerance, note)
        )

    def forward(self, forward: Forward) -> None:
        values = named_values(self._checked.names, forward)
        last = len(self._step.calls) - 1
        wanted = {call.place: call.outputs[0] for call in self._step.calls if call.place in values}
        channels_last = _is_channels_last(wanted, values)
        for j, call in enumerate(self._step.calls):
            at = f"forward/{j}/output"
            if j == last:
                for k, (expected, actual) in enumerate(
                    zip(call.outputs, forward.output, strict=True)
                ):
                    place = f"output/{k}" if k else "output"
                    self.add("forward", place, expected, actual, f"{at}/{k}")
            elif call.place in values:
                value, note = to_channels_first(
                    call.outputs[0].shape, np.asarray(values[call.place]), channels_last
                )
                self.add("forward", call.place, call.outputs[0], value, f"{at}/0", note)
        loss = forward.loss if self._checked.free else forward.loss_of_recorded
        self.add("loss", "loss", self._step.loss, loss, "loss")

    def gradients(self, forward: Forward) -> None:
        found = self._checked.weights.to_torch(forward.gradients)
        for name in self._checked.recording.parameters:
            if name in self._checked.recording.frozen:
                continue
            expected = self._step.gradients[name]
            self.add("gradient", name, expected, found[name], f"gradient/{name}")

    def buffers(self, kept: optax.OptState, params: Sequence[Any]) -> None:
        found = find_buffers(kept, self._checked.program.params, len(params))
        ours = {keys: self._checked.weights.to_torch(arrays) for keys, arrays in found.items()}
        for name in self._checked.recording.parameters:
            theirs = self._step.buffers.get(name, {})
            for key, expected in theirs.items():
                if expected.shape != self._checked.recording.initial[name].shape or key == "step":
                    continue
                place, noise = f"{name}.{key}", f"optimizer/{name}/{key}"
                matches = [
                    values[name] for keys, values in ours.items() if key in keys and name in values
                ]
                if matches:
                    self.add("optimizer state", place, expected, matches[0], noise)
                else:
                    self._unmatched(place, expected, "the port keeps none")
            for keys, values in ours.items():
                if name in values and not set(keys) & set(theirs):
                    place = f"{name}.{keys[0]}"
                    self._unmatched(place, np.zeros_like(values[name]), "PyTorch keeps none")

    def _unmatched(self, place: str, expected: NumPy, note: str) -> None:
        slot = Slot(self._i, "optimizer state", place, self._dtype)
        missing = np.zeros((0,), expected.dtype)
        self.found.append(dataclasses.replace(compare(slot, expected, missing, 0.0), note=note))

    def updates(self, after: Sequence[Any], state: Sequence[Any]) -> None:
        found = self._checked.weights.to_torch(after)
        found |= self._checked.buffers.to_torch(state)
        for name, value in found.items():
            expected = self._step.after[name]
            # What 1 - beta^t has lost by rounding is lost to the whole step.
            lost = self._loss_of_correction(name) * np.max(
                np.abs(expected - self._step.before[name]), initial=0.0
            )
            self.add("update", name, expected, value, f"after/{name}", more=float(lost))

    def _loss_of_correction(self, name: str) -> float:
        groups = self._checked.recording.optimizer["groups"]
        betas = [group["options"].get("betas", [0.0]) for group in groups if name in group["names"]]
        kept = 1 - max((beta for each in betas for beta in each), default=0.0)
        return float(np.finfo(self._dtype).eps) / kept if kept > 0 else 0.0


def to_channels_first(
    shape: tuple[int, ...], value: NumPy, channels_last: bool
) -> tuple[NumPy, str]:
    """Return a value with its last axis as the second, if PyTorch's shape says so.

    Args:
        shape: PyTorch's shape.
        value: The port's value.
        channels_last: Whether to where the shape leaves it open.

    Returns:
        The value, and a note where it was moved.

    Example:
        >>> to_channels_first((1, 3, 4, 5), np.zeros((1, 4, 5, 3)), False)[0].shape
        (1, 3, 4, 5)
    """
    if value.ndim != len(shape) or value.ndim < 3:
        return value, ""
    moved = np.moveaxis(value, -1, 1)
    if moved.shape == shape and (value.shape != shape or channels_last):
        return moved, "channels last in the port"
    return value, ""


def _is_channels_last(wanted: Mapping[str, NumPy], values: Mapping[str, Any]) -> bool:
    """Say whether the shapes that leave no choice are all channels last."""
    moved = []
    for place, expected in wanted.items():
        shape = tuple(np.shape(values[place]))
        if expected.ndim >= 4 and (shape == expected.shape) != (
            shape == (expected.shape[0], *expected.shape[2:], expected.shape[1])
        ):
            moved.append(shape != expected.shape)
    return bool(moved) and all(moved)
