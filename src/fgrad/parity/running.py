"""A port's forward pass, loss, gradients and update, compiled."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from fgrad.parity.capture import capture
from fgrad.parity.compare import Tolerance
from fgrad.parity.mapping import ParameterMap
from fgrad.parity.names import Names
from fgrad.parity.ports import Program, Tree
from fgrad.parity.recording import NumPy, Recording, Step, numbered
from fgrad.types import Array, Batch, Params

Loss = Callable[..., Array]

# A program that runs a few times is not worth optimizing.
QUICKLY: Final[dict[str, str | int]] = {"xla_backend_optimization_level": 0}


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


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=QUICKLY)
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


def begin(
    optimizer: optax.GradientTransformation, structure: Tree, params: Sequence[Any]
) -> optax.OptState:
    """Return an optimizer's state before the first step."""
    opt_state = optimizer.init(structure.bare(list(params)))
    if jnp.result_type(float) != jnp.float64:
        return opt_state
    # JAX divides int32 in float32 even where float64 is on, and schedules divide their counts.
    return jax.tree.map(
        lambda leaf: leaf.astype(np.int64) if jnp.result_type(leaf) == np.int32 else leaf, opt_state
    )


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


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def _update(
    optimizer: optax.GradientTransformation,
    params: Params,
    gradients: Params,
    opt_state: optax.OptState,
) -> tuple[Params, optax.OptState]:
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state
