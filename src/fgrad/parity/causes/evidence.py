"""What is known of a port when the search for a cause begins."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fgrad.parity.capture import capture
from fgrad.parity.recording import Call, NumPy, Step
from fgrad.parity.results import Cause, Comparison
from fgrad.parity.running import (
    QUICKLY,
    Check,
    Forward,
    batch_of,
    buffers_of,
    run_forward,
    weights_of,
)
from fgrad.parity.steps import named_values, to_channels_first
from fgrad.types import Array, Params


class Hypothesis(NamedTuple):
    """A mistake, and what the port would compute if it had made it.

    Attributes:
        name: As in `Cause`.
        explanation: As in `Cause`.
        fix: As in `Cause`.
        value: What the port would have in place of the expected value.
        slack: How far off a hit may be, relative to the error that it explains.
    """

    name: str
    explanation: str
    fix: str
    value: NumPy
    slack: float = 1e-3


class Evidence:
    """A mismatch, and the port to ask about it.

    Args:
        checked: What was checked.
        first: The first mismatch.
        comparisons: All comparisons.
    """

    def __init__(
        self, checked: Check, first: Comparison, comparisons: Sequence[Comparison]
    ) -> None:
        """Keep them."""
        self.checked, self.first, self.comparisons = checked, first, comparisons
        self.dtype = first.dtype
        self.step: Step = checked.recording.steps[first.dtype][first.step]
        self.tried: list[str] = []

    @property
    def steps(self) -> tuple[Step, ...]:
        """The recorded steps in the mismatch's precision."""
        return self.checked.recording.steps[self.dtype]

    @functools.cached_property
    def forward(self) -> Forward:
        """What the port computes at the mismatch's step from the recorded weights."""
        return self.rerun(self.step.before)

    @functools.cached_property
    def values(self) -> dict[str, NumPy]:
        """The port's named intermediates and its output, by place, in PyTorch's layout."""
        return self.places(self.forward)

    def rerun(self, entries: dict[str, NumPy]) -> Forward:
        """Run the port at the mismatch's step with other weights."""
        with jax.enable_x64(self.dtype == "float64"):
            params, state = weights_of(self.checked, entries), buffers_of(self.checked, entries)
            return jax.device_get(run_forward(self.checked, self.step, params, state))

    def places(self, forward: Forward) -> dict[str, NumPy]:
        """Return a run's values by place."""
        found = {}
        shapes = {call.place: call.outputs[0].shape for call in self.step.calls if call.outputs}
        for place, value in named_values(self.checked.names, forward).items():
            found[place], _ = to_channels_first(shapes[place], np.asarray(value), False)
        found["output"] = np.asarray(forward.output[0])
        return found

    @functools.cached_property
    def inner(self) -> list[NumPy]:
        """Every array that the port's forward pass computes and that has a layer's size."""
        sizes = {output.size for call in self.step.calls for output in call.outputs}
        program = self.checked.program

        def run(*args: Params) -> list[Array]:
            return capture(program, *args, keep=lambda value: value.size in sizes).inner

        with jax.enable_x64(self.dtype == "float64"):
            x, _ = batch_of(self.checked, self.step, self.dtype)
            before = self.step.before
            params, state = weights_of(self.checked, before), buffers_of(self.checked, before)
            found = jax.device_get(
                jax.jit(run, compiler_options=QUICKLY)(params, state, x, self.step.masks)
            )
        return [value for value in found if value.dtype.kind == "f"]

    def is_inside(self, value: NumPy, tolerance: float) -> float | None:
        """Return how near an array comes to one that the port computes, or None if to none."""
        best: float | None = None
        for other in self.inner:
            if other.size != value.size:
                continue
            for each in layouts(other, value.shape):
                error = distance(each, value)
                if error <= tolerance and (best is None or error < best):
                    best = error
        return best

    def explain(
        self,
        place: str,
        hypotheses: Iterator[Hypothesis],
        actual: NumPy | None,
        expected: NumPy,
    ) -> Cause | None:
        """Return the hypothesis whose value is the port's, if one is.

        Args:
            place: Where.
            hypotheses: What to try.
            actual: The port's value; None to look for it among all that the port computes.
            expected: PyTorch's.

        Returns:
            The cause, or None.
        """
        for hypothesis in hypotheses:
            self.try_(hypothesis.name)
            value = np.asarray(hypothesis.value)
            if value.shape != expected.shape or not np.isfinite(value).all():
                continue
            apart = distance(value, expected)
            before = apart if actual is None else distance(actual, expected)
            # A hypothesis that changes nothing, or next to nothing, explains nothing.
            if apart <= 4 * self.first.tolerance:
                continue
            limit = max(self.rounding(expected), hypothesis.slack * min(before, apart))
            after = self.is_inside(value, limit) if actual is None else distance(actual, value)
            if after is not None and after <= limit:
                return Cause(
                    hypothesis.name, place, hypothesis.explanation, hypothesis.fix, before, after
                )
        return None

    def rounding(self, expected: NumPy) -> float:
        """Return what rounding may do to a value of this size."""
        scale = float(np.max(np.abs(expected), initial=0.0))
        return 256 * float(np.finfo(self.dtype).eps) * scale

    def try_(self, name: str) -> None:
        """Remember that a mistake was tried."""
        if name not in self.tried:
            self.tried.append(name)


def distance(value: NumPy, other: NumPy) -> float:
    """Return the largest difference; inf where it is not finite, or the shapes differ.

    Example:
        >>> distance(np.ones(2), np.zeros(2)), distance(np.ones(2), np.zeros(1))
        (1.0, inf)
    """
    if value.shape != other.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        largest = float(np.max(np.abs(value.astype(np.float64) - other), initial=0.0))
    return largest if np.isfinite(largest) else float("inf")


def layouts(value: NumPy, shape: tuple[int, ...]) -> Iterator[NumPy]:
    """Yield an array in PyTorch's shape, in each layout that people have it in.

    Example:
        >>> [each.shape for each in layouts(np.zeros((4, 5, 3)), (1, 3, 4, 5))]
        [(1, 3, 4, 5)]
    """
    if value.shape == shape:
        yield value
    if len(shape) >= 3:
        last = (shape[0], *shape[2:], shape[1])
        squeezed = tuple(size for size in value.shape if size != 1)
        if value.shape == last or squeezed == tuple(size for size in last if size != 1):
            yield np.moveaxis(value.reshape(last), -1, 1)
    elif value.shape != shape and value.size == np.prod(shape):
        yield value.reshape(shape)


def leaf_calls(evidence: Evidence) -> list[Call]:
    """Return the calls of modules that compute themselves and do not only call others."""
    modules = evidence.checked.recording.modules
    parents = {name.rpartition(".")[0] for name in modules if name}
    owners = {name.rpartition(".")[0] for name in evidence.checked.recording.parameters}
    return [
        call
        for call in evidence.step.calls
        if call.outputs and (call.module not in parents or call.module in owners)
    ]


Rule = Callable[[Evidence], Cause | None]
