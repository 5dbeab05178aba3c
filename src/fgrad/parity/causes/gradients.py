"""Why a gradient differs, the loss being right."""

import functools
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from fgrad.parity.capture import evaluate
from fgrad.parity.causes.evidence import Evidence, Hypothesis, distance, layouts, leaf_calls
from fgrad.parity.recording import Call, NumPy
from fgrad.parity.results import Cause
from fgrad.parity.running import QUICKLY, batch_of, buffers_of, weights_of
from fgrad.types import Array, Params

_NUDGE = 1e-7  # far below the data, far above float64's rounding

_KINKED = ("ReLU", "ReLU6", "LeakyReLU", "Hardtanh", "Threshold", "PReLU", "Hardswish")


def explain(evidence: Evidence) -> Cause | None:
    """Return the mistake behind another gradient.

    Args:
        evidence: The mismatch and its port.

    Returns:
        The cause, or None.
    """
    place = evidence.first.place
    found = evidence.checked.weights.to_torch(evidence.forward.gradients)
    expected = evidence.step.gradients
    cause = evidence.explain(
        place, _of_gradient(evidence, place, found), found[place], expected[place]
    )
    return cause or _at_kinks(evidence, found)


def _of_gradient(evidence: Evidence, place: str, found: dict[str, NumPy]) -> Iterator[Hypothesis]:
    expected = evidence.step.gradients
    if np.any(expected[place]):
        yield Hypothesis(
            "stopped gradient",
            f"no gradient reaches {place}",
            f"leave out what stops it: lax.stop_gradient, a cast to integers, a copy of {place}",
            np.zeros_like(expected[place]),
        )
    names = [name for name in expected if np.any(expected[name])]
    if not names:
        return
    theirs, ours = (
        np.concatenate([np.ravel(values[name]) for name in names]) for values in (expected, found)
    )
    ratio = float(np.vdot(theirs, ours) / np.vdot(theirs, theirs))
    if distance(ours, theirs * np.asarray(ratio, theirs.dtype)) <= 1e-4 * np.max(np.abs(ours)):
        yield Hypothesis(
            "gradient factor",
            f"every gradient is {ratio:.6g} times PyTorch's",
            f"multiply the gradients by {1 / ratio:.6g}",
            expected[place] * np.asarray(ratio, theirs.dtype),
        )
    before = evidence.step.before[place]
    if np.any(before):
        rest = (found[place] - expected[place]).astype(np.float64)
        decay = float(np.vdot(before, rest) / np.vdot(before, before))
        yield Hypothesis(
            "weight decay in the gradient",
            f"{decay:.6g} times {place} is added to its gradient",
            "leave weight decay to the optimizer",
            expected[place] + np.asarray(decay, before.dtype) * before,
        )


def _at_kinks(evidence: Evidence, found: dict[str, NumPy]) -> Cause | None:
    """Nudge values off their kinks, to PyTorch's side of them, and look at the gradient again."""
    place = evidence.first.place
    expected = evidence.step.gradients[place]
    before = distance(found[place], expected)
    if before <= evidence.first.tolerance:
        return None
    limit = max(1e-2 * before, evidence.first.tolerance)
    kinds = {name: each["kind"] for name, each in evidence.checked.recording.modules.items()}
    for call in leaf_calls(evidence):
        kind = kinds[call.module]
        if not call.inputs:
            continue
        x = call.inputs[0]
        if kind in _KINKED and np.any(x == 0):
            name, nudge = "kink gradient", np.full(x.shape, -_NUDGE)
            explanation = (
                f"{call.place}'s input is exactly 0 in {np.count_nonzero(x == 0)} places, where "
                f"its slope in the port is not PyTorch's, 0"
            )
            fix = f"{call.place}: jax.nn.relu, whose gradient at 0 is 0"
        elif kind.startswith(("MaxPool", "AdaptiveMaxPool")):
            name = "tie gradient"
            nudge = -_NUDGE * np.arange(x.size, dtype=np.float64).reshape(x.shape) / x.size
            explanation = (
                f"{call.place} has equal maxima in a window, and the port does not give all of "
                f"the gradient to the first"
            )
            fix = f"{call.place}: lax.reduce_window(x, -jnp.inf, lax.max, ...), or argmax"
        else:
            continue
        evidence.try_(name)
        for gradients in _nudged(evidence, call, nudge):
            after = distance(gradients[place], expected)
            if after <= limit:
                return Cause(name, call.place, explanation, fix, before, after)
    return None


def _nudged(evidence: Evidence, call: Call, nudge: NumPy) -> Iterator[dict[str, NumPy]]:
    """Yield the port's gradients with a nudge added where it computes a call's input."""
    checked, dtype, x = evidence.checked, evidence.dtype, call.inputs[0]
    with jax.enable_x64(dtype == "float64"):
        batch, target = batch_of(checked, evidence.step, dtype)
        masks = {name: jnp.asarray(mask) for name, mask in evidence.step.masks.items()}
        before = evidence.step.before
        params, state = weights_of(checked, before), buffers_of(checked, before)
        args = (params, state, batch, masks)
        closed, shape = jax.make_jaxpr(checked.program, return_shape=True)(*args)
        flat = [jnp.asarray(leaf) for leaf in jax.tree.leaves(args)]

        def forward(flat: list[Array], nudges: Mapping[int, NumPy]) -> tuple[Params, list[Array]]:
            """Return the port's result, and its values that have the input's size."""
            kept: list[Array] = []

            def visit(_: JaxprEqn, value: Array) -> Array:
                if value.size != x.size or value.dtype != x.dtype:
                    return value
                kept.append(value)
                nudge = nudges.get(len(kept) - 1)
                return value if nudge is None else value + jnp.asarray(nudge, value.dtype)

            results = evaluate(closed, flat, visit, rules=False)
            return jax.tree.unflatten(jax.tree.structure(shape), results), kept

        def loss(params: list[Array], nudges: Mapping[int, NumPy]) -> Array:
            (output, *_), _ = forward([*params, *flat[len(params) :]], nudges)
            return checked.loss(output, target)

        quickly = functools.partial(jax.jit, compiler_options=QUICKLY)
        values = jax.device_get(quickly(lambda flat: forward(flat, {})[1])(flat))
        for number, value in enumerate(values):
            near = [distance(each, x) for each in layouts(value, x.shape)]
            if near and min(near) <= evidence.rounding(x):
                nudges = {number: _like(nudge, value, x.shape)}
                gradient = quickly(jax.grad(functools.partial(loss, nudges=nudges)))
                found = jax.device_get(gradient(flat[: len(params)]))
                yield checked.weights.to_torch(found)


def _like(nudge: NumPy, value: NumPy, shape: tuple[int, ...]) -> NumPy:
    """Return a nudge in the port's own layout."""
    if value.shape == shape or len(shape) < 3:
        return nudge.reshape(value.shape)
    return np.moveaxis(nudge, 1, -1).reshape(value.shape)
