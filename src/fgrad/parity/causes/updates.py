"""Why an update differs, the gradients being PyTorch's."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fgrad.parity.causes.evidence import Evidence, distance
from fgrad.parity.causes.optimizers import Options, options_of, run
from fgrad.parity.recording import NumPy
from fgrad.parity.results import Cause
from fgrad.parity.running import advance, begin, weights_of

_MOMENTA = (0.0, 0.5, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 0.995)
_EPSILONS = (0.0, 1e-16, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def explain(evidence: Evidence) -> Cause | None:
    """Return the mistake behind another update.

    Args:
        evidence: The mismatch and its port.

    Returns:
        The cause, or None.
    """
    optimizer = evidence.checked.recording.optimizer
    base = {
        name: options_of(optimizer["kind"], group["options"])
        for group in optimizer["groups"]
        for name in group["names"]
    }
    if any(each is None for each in base.values()):
        return None
    known = {name: each for name, each in base.items() if each is not None}
    runs = _Runs(evidence, known)
    before = runs.distance({}, None)
    place, error = evidence.first.place, evidence.first.error
    scale = error / before if np.isfinite(error) and np.isfinite(before) else 1.0
    # One mistake in one group of parameters, or, where there are several, in all of them.
    groups = [*dict.fromkeys(known.values())]
    for group in groups if len(groups) == 1 else [*groups, None]:
        for name, explanation, fix, fields in _variants(group or groups[0], runs, group):
            evidence.try_(name)
            after = runs.distance(fields, group)
            if after <= 1.0 and after < 1e-2 * before:
                return Cause(name, place, explanation, fix, before * scale, after * scale)
    return None


class _Runs:
    """The port's updates, and those of any rule, over the recorded gradients."""

    def __init__(self, evidence: Evidence, base: dict[str, Options]) -> None:
        self.base = base
        self.steps = evidence.steps
        self.port = _port_updates(evidence)
        self.limits: dict[str, list[float]] = {}
        eps = float(np.finfo(evidence.dtype).eps)
        for name in base:
            largest = [float(np.max(np.abs(step.after[name]))) for step in self.steps]
            moves = [
                float(np.max(np.abs(step.after[name] - step.before[name]), initial=0.0))
                for step in self.steps
            ]
            self.limits[name] = [
                64 * eps * scale + 1e-6 * move for scale, move in zip(largest, moves, strict=True)
            ]

    def of(self, name: str, options: Options) -> list[NumPy]:
        return run(
            options,
            [step.gradients[name] for step in self.steps],
            [step.before[name] for step in self.steps],
        )

    def distance(self, fields: Mapping[str, Any], group: Options | None) -> float:
        """Return how many times the limit the port is from a rule with other settings, at worst.

        They are those of a group of parameters, or of all.
        """
        worst = 0.0
        for name, options in self.base.items():
            changed = options._replace(**fields) if group in (None, options) else options
            with np.errstate(all="ignore"):
                after = self.of(name, changed)
            for ours, theirs, limit in zip(self.port, after, self.limits[name], strict=True):
                error = distance(np.asarray(theirs), ours[name])
                worst = max(worst, error / limit if limit else float(error > 0))
        return worst

    def fitted(self, field: str, value: float, group: Options | None) -> float | None:
        """Return the value of a setting that makes the first wrong update the port's.

        The update has to be linear in it, as it is in the learning rate, and where a setting is
        used for the first time in the others.
        """
        for i, ours in enumerate(self.port):
            top = bottom = apart = 0.0
            for name, options in self.base.items():
                if group not in (None, options):
                    continue
                fields: list[dict[str, Any]] = [{field: value}, {field: value + 1.0}]
                start, end = (
                    np.asarray(self.of(name, options._replace(**each))[i], np.float64)
                    for each in fields
                )
                slope, missing = end - start, ours[name].astype(np.float64) - start
                apart = max(apart, distance(ours[name], start) / (self.limits[name][i] or 1.0))
                top += float(np.vdot(slope, missing))
                bottom += float(np.vdot(slope, slope))
            if apart > 1.0:
                return value + top / bottom if bottom else None
        return None


def _port_updates(evidence: Evidence) -> list[dict[str, NumPy]]:
    """Return the port's weights after each step, from the recorded gradients and weights."""
    checked, updates = evidence.checked, []
    structure = checked.program.params
    with jax.enable_x64(evidence.dtype == "float64"):
        params = weights_of(checked, evidence.steps[0].before)
        state = begin(checked.optimizer, structure, params)
        for step in evidence.steps:
            after, state = advance(
                checked.optimizer,
                structure,
                weights_of(checked, step.before),
                checked.weights.to_port(step.gradients),
                state,
            )
            updates.append(checked.weights.to_torch(jax.device_get(after)))
    return updates


Variant = tuple[str, str, str, dict[str, Any]]


def _variants(one: Options, runs: _Runs, group: Options | None) -> Iterator[Variant]:
    """Yield what people get wrong in an optimizer, the likeliest first."""
    decay = f"{one.decay:g}"
    if one.decay:
        yield (
            "weight decay",
            "there is no weight decay",
            f"weight_decay={decay}",
            {"decay": 0.0},
        )
        kinds = ("decoupled: on the weights", "coupled: on the gradient")
        ours, theirs = kinds if not one.decoupled else kinds[::-1]
        yield (
            "weight decay coupling",
            f"weight decay is {ours}; PyTorch's is {theirs}",
            "optax.adamw for AdamW"
            if one.decoupled
            else "optax.add_decayed_weights before everything else, as SGD and Adam have it",
            {"decoupled": not one.decoupled},
        )
        yield (
            "weight decay coupling",
            "weight decay is taken off the weights without the learning rate",
            "scale the decay by the learning rate",
            {"decoupled": True, "decay_unscaled": True},
        )
        yield (
            "weight decay",
            "weight decay leaves vectors out; PyTorch's acts on every parameter",
            "leave out the mask",
            {"decays_vectors": False},
        )
    for other in (1e-4, 1e-2, 5e-4, 1e-3, 0.1):
        for decoupled in (one.decoupled, not one.decoupled):
            if other != one.decay:
                yield (
                    "weight decay",
                    f"weight decay is {other:g}, PyTorch's is {decay}",
                    f"weight_decay={decay}",
                    {"decay": other, "decoupled": decoupled},
                )
    if one.adaptive:
        yield from _adaptive(one)
    else:
        yield from _momenta(one, runs, group)
    for every in (2, 3, 4, 8):
        yield (
            "gradient accumulated",
            f"the gradients of {every} steps make one update",
            "update with every step's gradient",
            {"every": every},
        )
    yield (
        "gradient accumulated",
        "gradients add up over the steps",
        "start every step's gradient from zero",
        {"accumulates": True},
    )
    yield from _fits(one, runs, group)


def _adaptive(one: Options) -> Iterator[Variant]:
    for which, (b1, b2) in enumerate((one.betas, one.betas)):
        for other in _MOMENTA:
            betas = (other, b2) if which == 0 else (b1, other)
            if betas != one.betas:
                yield (
                    "betas",
                    f"b{which + 1} is {other:g}, PyTorch's is {one.betas[which]:g}",
                    f"b{which + 1}={one.betas[which]:g}",
                    {"betas": betas},
                )
    for inside in (False, True):
        for eps in _EPSILONS:
            if eps != one.eps or inside:
                where = " under the root" if inside else ""
                yield (
                    "epsilon",
                    f"epsilon is {eps:g}{where}, PyTorch's is {one.eps:g}",
                    f"eps={one.eps:g}",
                    {"eps": eps, "eps_inside": inside},
                )
    yield (
        "Nesterov",
        "the step looks ahead, as in NAdam",
        "nesterov=False",
        {"nesterov": True},
    )
    for corrects in ((False, False), (False, True), (True, False)):
        yield (
            "bias correction",
            "the moments are not corrected for starting at zero",
            "divide the moments by 1 - b**t, as optax.scale_by_adam does",
            {"corrects": corrects},
        )
    yield (
        "second moment",
        "the step is not divided by the root of the second moment",
        "optax.scale_by_adam",
        {"adaptive": False, "momentum": one.betas[0], "dampening": 1 - one.betas[0]},
    )


def _momenta(one: Options, runs: _Runs, group: Options | None) -> Iterator[Variant]:
    if one.momentum:
        yield (
            "Nesterov",
            f"the step {'does not look' if one.nesterov else 'looks'} ahead",
            f"nesterov={one.nesterov}",
            {"nesterov": not one.nesterov},
        )
    nesterov = one.nesterov
    fitted = runs.fitted("momentum", one.momentum or 0.5, group)
    for other in (*_MOMENTA, *(() if fitted is None else (fitted,))):
        if other != one.momentum:
            yield (
                "momentum",
                f"momentum is {other:.6g}, PyTorch's is {one.momentum:g}",
                f"momentum={one.momentum:g}",
                {"momentum": other, "nesterov": nesterov and bool(other)},
            )
    for first in (False, True):
        for other in (0.0, one.momentum, 1 - one.momentum, one.dampening, 0.1, 0.5):
            if one.momentum and (other, first) != (one.dampening, False):
                how = " from the first gradient on" if first else ""
                yield (
                    "dampening",
                    f"dampening is {other:.6g}{how}, PyTorch's is {one.dampening:g}",
                    f"dampening={one.dampening:g}, which spares the first gradient",
                    {"dampening": other, "dampens_first": first},
                )
    if one.momentum and (fitted := runs.fitted("dampening", one.dampening, group)) is not None:
        yield (
            "dampening",
            f"dampening is {fitted:.6g}, PyTorch's is {one.dampening:g}",
            f"dampening={one.dampening:g}",
            {"dampening": fitted},
        )


def _fits(one: Options, runs: _Runs, group: Options | None) -> Iterator[Variant]:
    """Yield the learning rate and the weight decay that fit best."""
    lr = runs.fitted("lr", one.lr, group)
    if lr:
        yield (
            "learning rate",
            f"the learning rate is {lr:.6g}, PyTorch's is {one.lr:g}",
            f"learning_rate={one.lr:g}",
            {"lr": lr},
        )
    decay = runs.fitted("decay", one.decay, group)
    if decay is not None:
        yield (
            "weight decay",
            f"weight decay is {decay:.6g}, PyTorch's is {one.decay:g}",
            f"weight_decay={one.decay:g}",
            {"decay": decay},
        )
