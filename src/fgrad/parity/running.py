"""A port's steps, each value compared as it comes."""

import dataclasses
import difflib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from fgrad.parity.buffers import find_buffers
from fgrad.parity.capture import capture
from fgrad.parity.compare import Slot, Tolerance, compare
from fgrad.parity.mapping import ParameterMap, join
from fgrad.parity.ports import Program, Tree
from fgrad.parity.record import numbered
from fgrad.parity.recording import NumPy, Recording, Step
from fgrad.parity.results import Comparison
from fgrad.types import Array, ArrayLike, Batch, Params

Loss = Callable[..., Array]

_GROWTH = 8.0

# A program that runs a few times is not worth optimizing.
_QUICKLY: Final[dict[str, str | int]] = {"xla_backend_optimization_level": 0}


class Names:
    """Which recorded value a named intermediate of a port is.

    Args:
        recording: The recording.
        weights: Which parameters belong to which module.
        renamed: The user's own renaming.
    """

    def __init__(
        self, recording: Recording, weights: ParameterMap, renamed: Mapping[str, str]
    ) -> None:
        """Check the renaming."""
        step = recording.steps["float32"][0]
        self.places = [call.place for call in step.calls if call.outputs]
        self._weights = weights
        self._renamed = dict(renamed)
        for name, place in renamed.items():
            self._known(place, f"names[{name!r}]")

    def of_name(self, name: str) -> str:
        """Return the place of a value that the user named.

        Args:
            name: From `checkpoint_name`, numbered as `record` numbers calls.

        Returns:
            The place.

        Raises:
            ValueError: If there is none.
        """
        base, mark, count = name.partition("#")
        return self._known(self._renamed.get(base, base) + mark + count, "checkpoint_name")

    def of_module(self, path: str) -> str | None:
        """Return the place of what a module of the port returned, or None if none is known.

        Args:
            path: The port's module, numbered as `record` numbers calls.

        Returns:
            The place.
        """
        base, mark, count = path.partition("#")
        place = self._renamed.get(base, base) + mark + count
        if place in self.places:
            return place
        owner = self._weights.owner(base)
        place = (owner or base) + mark + count
        return place if place in self.places else None

    def _known(self, place: str, argument: str) -> str:
        if place in self.places:
            return place
        near = difflib.get_close_matches(place, self.places, n=3)
        hint = f"such as {join(near)}" if near else f"among {join(self.places)}"
        raise ValueError(f"{argument}: expected the name of a module, {hint}, got {place!r}")


class Check(NamedTuple):
    """What is checked against what.

    Attributes:
        recording: The recording.
        program: The port's forward pass.
        loss: Its loss.
        optimizer: Its optimizer.
        weights: Which of its parameters are which.
        buffers: Which of its buffers are which.
        names: Which of its intermediates are which.
        tolerance: Explicit tolerances.
        free: Whether the port goes on from its own weights.
    """

    recording: Recording
    program: Program
    loss: Loss
    optimizer: optax.GradientTransformation
    weights: ParameterMap
    buffers: ParameterMap
    names: Names
    tolerance: Tolerance
    free: bool


class Forward(NamedTuple):
    """What a step computes before the optimizer.

    Attributes:
        output: The output's arrays.
        inner: By path, what modules returned.
        named: By name, what the user named.
        loss: Of the port's own output.
        loss_of_recorded: Of the recorded output.
        gradients: By parameter array.
        state: The new buffers.
    """

    output: list[Array]
    inner: dict[str, Array]
    named: dict[str, Array]
    loss: Array
    loss_of_recorded: Array
    gradients: list[Array]
    state: list[Array]


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
                opt_state = checked.optimizer.init(checked.program.params.bare(params))
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


def weights_of(checked: Check, entries: Mapping[str, NumPy]) -> list[Any]:
    """Return the port's parameters, made of a state_dict.

    Args:
        checked: What is checked.
        entries: The state_dict.

    Returns:
        Its arrays.
    """
    return list(checked.weights.to_port(entries))


def buffers_of(checked: Check, entries: Mapping[str, NumPy]) -> list[Any]:
    """Return the port's buffers, made of a state_dict.

    Args:
        checked: What is checked.
        entries: The state_dict.

    Returns:
        Its arrays.
    """
    return list(checked.buffers.to_port(entries))


def batch_of(checked: Check, step: Step, dtype: npt.DTypeLike) -> tuple[Batch, Batch]:
    """Return the batch that a step took, floating-point numbers in the step's precision."""

    def cast(leaf: NumPy) -> Array:
        return jnp.asarray(leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf)

    return jax.tree.map(cast, checked.recording.batches[step.batch])


def run_forward(checked: Check, step: Step, params: Sequence[Any], state: Sequence[Any]) -> Forward:
    """Run the port's forward pass, loss and gradients on a recorded batch.

    Args:
        checked: What is checked.
        step: The step, for its batch, output and masks.
        params: The parameters' arrays.
        state: The buffers' arrays.

    Returns:
        What came out.

    Raises:
        ValueError: If the port refuses the batch, or what it returns is no such thing.
    """
    x, target = batch_of(checked, step, step.loss.dtype)
    recorded = jax.tree.leaves(step.output)
    masks = {place: jnp.asarray(mask) for place, mask in step.masks.items()}
    try:
        return _forward(
            checked.program, checked.loss, list(params), list(state), x, target, recorded, masks
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if str(error).startswith(("apply:", "loss:")):
            raise ValueError(str(error)) from error
        raise ValueError(
            f"apply: expected a port that takes the recorded batch, got {type(error).__name__}: "
            f"{error}"
        ) from error


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=_QUICKLY)
def _forward(
    program: Program,
    loss: Loss,
    params: list[Array],
    state: list[Array],
    x: Batch,
    target: Batch,
    recorded: list[Array],
    masks: dict[str, Array],
) -> Forward:
    captured = capture(program, params, state, x, masks)
    output, after, inner = captured.result
    leaves, treedef = jax.tree.flatten(output)
    shapes = [tuple(np.shape(leaf)) for leaf in recorded]
    if len(leaves) != len(shapes):
        raise ValueError(f"apply: expected {len(shapes)} outputs, got {len(leaves)}")
    if (got := [tuple(np.shape(leaf)) for leaf in leaves]) != shapes:
        raise ValueError(
            f"apply: expected an output of shape {', '.join(map(str, shapes))}, got "
            f"{', '.join(map(str, got))}"
        )

    def scalar_loss(output: Params) -> Array:
        value = loss(output, target)
        shape, dtype = jnp.shape(value), jnp.result_type(value)
        if shape != () or not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"loss: expected a floating-point scalar, got {dtype} of shape {shape}"
            )
        return value

    value, gradients = jax.value_and_grad(
        lambda params: scalar_loss(program(params, state, x, masks)[0])
    )(params)
    counts: dict[str, int] = {}
    named = {numbered(name, counts): value for name, value in captured.named}
    of_recorded = scalar_loss(jax.tree.unflatten(treedef, recorded))
    return Forward(leaves, inner, named, value, of_recorded, gradients, after)


def advance(
    optimizer: optax.GradientTransformation,
    structure: Tree,
    params: Sequence[Any],
    gradients: Sequence[Any],
    opt_state: optax.OptState,
) -> tuple[list[Array], optax.OptState]:
    """Return the parameters after an update, and the optimizer's state."""
    trees = structure.bare(list(params)), structure.bare(list(gradients))
    # Strict promotion, where it is set, is for the port; optax's own transformations break it.
    with jax.numpy_dtype_promotion("standard"):
        after, opt_state = _update(optimizer, *trees, opt_state)
    return jax.tree.leaves(after), opt_state


@functools.partial(jax.jit, static_argnums=0, compiler_options=_QUICKLY)
def _update(
    optimizer: optax.GradientTransformation,
    params: Params,
    gradients: Params,
    opt_state: optax.OptState,
) -> tuple[Params, optax.OptState]:
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


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
                np.abs(expected - self._step.before[name])
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
