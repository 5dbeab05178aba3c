"""One pure training step: the state that it changes, and how it is made."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgrad.training import _in_place
from fgrad.types import Array, Batch, LossAndMetricsFn, LossFn, Metrics, Params


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
        step: How many updates were made, an int32 scalar.
        params: The parameters, a pytree of arrays.
        opt_state: The optimizer's own state (momentum buffers and the like).
    """

    step: Array
    params: Params
    opt_state: optax.OptState


Step: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Return the state before the first step.

    Args:
        params: A pytree of floating-point arrays.
        optimizer: Any optax transformation.

    Returns:
        `TrainState(step=0, params=params, opt_state=optimizer.init(params))`.

    Raises:
        ValueError: If `params` has no leaves, or one that is not floating point.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> state = init_state({"w": jnp.float32(1.0)}, optax.sgd(0.01))
        >>> print(state.step, state.params["w"])
        0 1.0
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("params: expected a pytree with at least one array, got an empty one")
    for path, leaf in leaves:
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)}: expected floating point, got {dtype}"
            )
    params = jax.device_put(params)
    return TrainState(jax.device_put(np.int32(0)), params, optimizer.init(params))


def make_step(
    loss_fn: LossFn | LossAndMetricsFn,
    optimizer: optax.GradientTransformation,
    *,
    metrics: Collection[str] = ("loss",),
    has_aux: bool = False,
) -> Step:
    r"""Make the pure function that trains on one batch.

    $$g = \nabla_\theta L(\theta, \mathrm{batch}), \qquad
      \theta \leftarrow \theta + \mathrm{optimizer}(g)$$

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        optimizer: Any optax transformation.
        metrics: What each step reports: `"loss"`, `"grads"` and `"params"`, the last two as
            they were when the loss was taken, before the update. Not asked for is not kept.
        has_aux: Whether `loss_fn` returns a pair, the loss and a dict of more metrics, which each
            step then reports as well.

    Returns:
        `step(state, batch) -> (state, metrics)`, pure: it can be jitted, vmapped, scanned and
        differentiated. Make it once and reuse it: a compiled run belongs to its step.

    Raises:
        ValueError: If `optimizer` is none, or `metrics` has an unknown name; and, when the step is
            traced, if the loss is not a floating-point scalar.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> step = make_step(lambda w, x: (w * x - 2 * x) ** 2, optax.sgd(0.01))
        >>> state, metrics = step(init_state(jnp.float32(1.0), optax.sgd(0.01)), 3.0)
        >>> print(state.params, metrics["loss"])
        1.18 9.0
    """
    if not callable(getattr(optimizer, "update", None)):
        raise ValueError(
            "optimizer: expected an optax transformation, such as optax.sgd(0.01), got "
            f"{optimizer!r}"
        )
    if unknown := set(metrics) - {"loss", "grads", "params"}:
        raise ValueError(f"metrics: expected names among loss, grads, params, got {unknown}")

    def checked_loss(params: Params, batch: Batch) -> tuple[Array, Metrics]:
        value: Any = loss_fn(params, batch)
        loss, aux = value if has_aux else (value, {})
        shape, dtype = jnp.shape(loss), jnp.result_type(loss)
        if shape != () or not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"loss_fn: expected a floating-point scalar, got {dtype} of shape {shape}"
            )
        return loss, aux

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        (loss, aux), grads = jax.value_and_grad(checked_loss, has_aux=True)(state.params, batch)
        grads = _in_place.all_before_any(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        reported = {"loss": loss, "grads": grads, "params": state.params}
        return (
            TrainState(state.step + 1, params, opt_state),
            {**aux, **{name: reported[name] for name in metrics}},
        )

    return step
