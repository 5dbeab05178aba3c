"""Whole runs as one compiled scan, and what is said of one that diverges."""

import functools
import operator
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fgrad import _checks
from fgrad import strict as strict_rounding
from fgrad.training.step import Step, TrainState
from fgrad.types import Array, Batch, Metrics


class DivergenceError(ValueError):
    """A run that left the finite numbers.

    Attributes:
        epoch: Epoch of the first loss that is not finite, counted from 0; None if the losses that
            were kept are finite, and the parameters after them are not.
        step: Its step within that epoch, counted from 0, or None.
        state: The final `TrainState`.
        history: The whole run's history; what comes after `epoch`, `step` means nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int | None,
        step: int | None,
        state: TrainState,
        history: Metrics,
    ) -> None:
        """Keep what is known of the run."""
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.state = state
        self.history = history


def fit(
    step: Step,
    state: TrainState,
    batches: Batch,
    *,
    epochs: int,
    strict: bool = False,
) -> tuple[TrainState, Metrics]:
    """Run `epochs` passes over `batches` as one compiled program.

    The steps run under one `lax.scan` in one `jax.jit`: compiling takes the same time for one
    epoch and for a million, and a second call with the same `step`, shapes and `epochs` compiles
    nothing. It works under `jax.vmap`, `jax.grad` and `jax.jit`; there the values are not known
    while tracing, so that a run that diverges is seen in its history instead of raising.

    Args:
        step: From `make_step`, or any pure `step(state, batch) -> (state, metrics)` whose
            state is a `TrainState`.
        state: From `init_state`, or the state that an earlier run returned, to go on from there.
        batches: A pytree of arrays whose leading axis counts the batches of an epoch.
        epochs: How many passes over `batches`, 0 or more.
        strict: Round after every operation, as PyTorch's eager kernels do (CPU only, float32 and
            float64). Inside a `jax.jit` of your own, leave this off and give that jit
            `compiler_options=fgrad.strict.COMPILER_OPTIONS`.

    Returns:
        The final state, and the history: `step`'s metrics, each with two leading axes
        `(epochs, batches)`.

    Raises:
        ValueError: If `epochs` is no integer from 0 to 2^31 - 1, `batches` is empty, holds other
            things than arrays or arrays that disagree on the number of batches, `step` is no
            function or returns something else, `state` is no `TrainState`, or `strict` is asked of
            another platform than the CPU.
        DivergenceError: (a ValueError) If a loss or a final parameter is not finite.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from fgrad.training import init_state, make_step
        >>> def loss_fn(w, batch):
        ...     x, y = batch
        ...     return (w * x - y) ** 2
        >>> x, y = jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 4.0, 6.0])
        >>> optimizer = optax.sgd(0.01)
        >>> step = make_step(loss_fn, optimizer)
        >>> state, history = fit(step, init_state(jnp.float32(1.0), optimizer), (x, y), epochs=100)
        >>> print(f"{state.params:.5f}", history["loss"].shape)
        2.00000 (100, 3)
    """
    epochs = _checks.integer("epochs", epochs)
    if not 0 <= epochs < 2**31:
        raise ValueError(f"epochs: expected 0 to 2**31 - 1, got {epochs}")
    if strict and jax.default_backend() != "cpu":
        raise ValueError(f"strict: expected the CPU backend, got {jax.default_backend()!r}")
    if not callable(step):
        raise ValueError(
            f"step: expected a function, such as make_step returns, got {type(step).__name__}"
        )
    if not isinstance(state, TrainState):
        raise ValueError(
            f"state: expected a TrainState, such as init_state returns, got {type(state).__name__}"
        )
    if hasattr(batches, "__next__"):  # which JAX is about to refuse in words of its own
        raise _no_arrays("", batches)
    run = _compiled_strict if strict else _compiled
    try:
        final, history, finite = run(step, state, batches, epochs)
    except TypeError:
        _check_leaves(batches)  # looked at only now: a run that works costs no check
        raise
    # Under jax.grad a run is traced, and whether it is finite is known all the same.
    if not isinstance(finite, jax.core.Tracer) and not np.asarray(finite):
        leaves = jax.tree.leaves((final, history))
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            check_finite(final, history, batches)
    return final, history


def _run_epochs(
    step: Step, state: TrainState, batches: Batch, epochs: int
) -> tuple[TrainState, Metrics, Array]:
    """Return the final state, the history, and whether losses and parameters are finite."""
    # Checked here, while tracing, a run that is compiled already costs no check.
    _check_batches(batches)

    def epoch(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
        return lax.scan(step, state, batches)

    final, history = lax.scan(epoch, state, length=epochs)
    if not isinstance(history, Mapping) or jnp.ndim(history.get("loss", 0.0)) not in (0, 2):
        raise ValueError(
            "step: expected it to return a state and a dict of metrics, a 'loss' among them a "
            f"scalar, got {jax.tree.map(jnp.shape, history)} over all epochs and batches"
        )
    watched = jax.tree.leaves((history.get("loss", ()), final.params))
    finite = functools.reduce(operator.and_, [jnp.isfinite(leaf).all() for leaf in watched])
    return final, history, finite


_compiled = jax.jit(_run_epochs, static_argnums=(0, 3))
_compiled_strict = jax.jit(
    _run_epochs, static_argnums=(0, 3), compiler_options=strict_rounding.COMPILER_OPTIONS
)


def _check_leaves(batches: Batch) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(batches):
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise _no_arrays(jax.tree_util.keystr(path), leaf)


def _no_arrays(path: str, value: object) -> ValueError:
    return ValueError(
        f"batches{path}: expected arrays, all batches of an epoch stacked along a leading axis, "
        f"got {type(value).__name__}"
    )


def _check_batches(batches: Batch) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(batches)
    if not leaves:
        raise ValueError("batches: expected a pytree with at least one array, got an empty one")
    counts = {}
    for path, leaf in leaves:
        shape = np.shape(leaf)
        if not shape or 0 in shape:
            raise ValueError(
                f"batches{jax.tree_util.keystr(path)}: expected a leading axis of batches and no "
                f"empty axis, got shape {shape}"
            )
        counts[jax.tree_util.keystr(path)] = shape[0]
    if len(set(counts.values())) > 1:
        raise ValueError(f"batches: expected as many in every array, got leading axes {counts}")


def check_finite(state: TrainState, history: Metrics, batches: Batch) -> None:
    """Raise if a run left the finite numbers, saying where: `fit` does, unless it is traced.

    Args:
        state: The state after the run.
        history: The run's history, of which the losses are looked at.
        batches: What the run was given, to tell bad data from divergence.

    Raises:
        ValueError: If the data are not finite.
        DivergenceError: (a ValueError) If a loss or a parameter is not, though the data are.

    Example:
        >>> import optax
        >>> from fgrad.training import init_state
        >>> state = init_state(np.float32(1.0), optax.sgd(0.01))
        >>> try:
        ...     check_finite(state, {"loss": np.float32([[4.0, np.inf]])}, np.float32([1.0, 2.0]))
        ... except DivergenceError as error:
        ...     print(error.epoch, error.step)
        0 1
    """
    losses = np.asarray(history.get("loss", ()))
    if all(np.isfinite(leaf).all() for leaf in [losses, *jax.tree.leaves(state.params)]):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(batches):
        inexact = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        if inexact and not (finite := np.isfinite(leaf)).all():
            index = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ValueError(
                f"batches{jax.tree_util.keystr(path)}: expected finite values, got "
                f"{np.asarray(leaf)[index]} at index {index}"
            )
    epoch = step = None
    message = "params: expected finite values after the last step, got others"
    if not np.isfinite(losses).all():
        epoch, step = (int(i) for i in np.argwhere(~np.isfinite(losses))[0])
        message = (
            f"loss: expected finite values, got {losses[epoch, step]} at epoch {epoch}, step {step}"
        )
    raise DivergenceError(
        f"{message}; try a smaller learning rate",
        epoch=epoch,
        step=step,
        state=state,
        history=history,
    )
