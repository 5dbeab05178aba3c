"""Why an update differs, the gradients being PyTorch's."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fgrad.parity.causes.evidence import Evidence, distance
from fgrad.parity.causes.mistakes import Table, mistakes
from fgrad.parity.causes.optimizers import Options, options_of, run
from fgrad.parity.recording import NumPy
from fgrad.parity.results import Cause
from fgrad.parity.running import advance, begin, weights_of

_EPSILONS = (0.0, 1e-16, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
_SHARES = (0.0, 0.5, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 0.995)

_DECAY: Table = {
    ("weight decay", "weight_decay={torch.decay:g}"): {
        "there is no weight decay": {"decay": [0.0]},
        "weight decay leaves vectors out; PyTorch's acts on all": {"decays_vectors": [False]},
    },
    ("weight decay coupling", "optax.adamw for AdamW"): {
        "weight decay is coupled: on the gradient; PyTorch's is decoupled: on the weights": {
            "decoupled": [False]
        }
    },
    (
        "weight decay coupling",
        "optax.add_decayed_weights before everything else, as SGD and Adam have it",
    ): {
        "weight decay is decoupled: on the weights; PyTorch's is coupled: on the gradient": {
            "decoupled": [True]
        }
    },
    ("weight decay coupling", "scale the decay by the learning rate"): {
        "weight decay is taken off the weights without the learning rate": {
            "decoupled": [True],
            "decay_unscaled": [True],
        }
    },
}
_DECAYS: Table = {
    ("weight decay", "weight_decay={torch.decay:g}"): {
        "weight decay is {port.decay:g}, PyTorch's is {torch.decay:g}": {
            "decay": [1e-4, 1e-2, 5e-4, 1e-3, 0.1],
            "decoupled": [False, True],
        }
    }
}
_ADAM: Table = {
    ("betas", "b1={torch.b1:g}, b2={torch.b2:g}"): {
        "b1 is {port.b1:g}, PyTorch's is {torch.b1:g}": {"b1": _SHARES},
        "b2 is {port.b2:g}, PyTorch's is {torch.b2:g}": {"b2": _SHARES},
    },
    ("epsilon", "eps={torch.eps:g}"): {
        "epsilon is {port.eps:g}, PyTorch's is {torch.eps:g}": {"eps": _EPSILONS},
        "epsilon is {port.eps:g} under the root, PyTorch's is {torch.eps:g}": {
            "eps_inside": [True],
            "eps": _EPSILONS,
        },
    },
    ("Nesterov", "nesterov=False"): {
        "the step looks ahead, as in NAdam": {"nesterov": [True]},
    },
    ("bias correction", "divide the moments by 1 - b**t, as optax.scale_by_adam does"): {
        "the moments are not corrected for starting at zero": {
            "corrects": [(False, False), (False, True), (True, False)]
        }
    },
    ("second moment", "optax.scale_by_adam"): {
        "the step is not divided by the root of the second moment": {
            "adaptive": [False],
            "momentum": [lambda torch: torch.b1],
            "dampening": [lambda torch: 1 - torch.b1],
        }
    },
}
_NESTEROV: Table = {
    ("Nesterov", "nesterov={torch.nesterov}"): {
        "the step looks ahead": {"nesterov": [True]},
        "the step does not look ahead": {"nesterov": [False]},
    }
}
_MOMENTUM: Table = {
    ("momentum", "momentum={torch.momentum:g}"): {
        "momentum is {port.momentum:.6g}, PyTorch's is {torch.momentum:g}": {
            "momentum": [*_SHARES, lambda torch: torch.fitted("momentum")]
        }
    }
}
_DAMPENINGS = (
    *(0.0, lambda torch: torch.momentum, lambda torch: 1 - torch.momentum),
    *(lambda torch: torch.dampening, 0.1, 0.5, lambda torch: torch.fitted("dampening")),
)
_DAMPENING: Table = {
    ("dampening", "dampening={torch.dampening:g}, which spares the first gradient"): {
        "dampening is {port.dampening:.6g}, PyTorch's is {torch.dampening:g}": {
            "dampening": _DAMPENINGS
        },
        "dampening is {port.dampening:.6g} from the first gradient on, PyTorch's is "
        "{torch.dampening:g}": {"dampening": _DAMPENINGS, "dampens_first": [True]},
    }
}
_OTHERWISE: Table = {
    ("gradient accumulated", "update with every step's gradient"): {
        "the gradients of {port.every} steps make one update": {"every": [2, 3, 4, 8]}
    },
    ("gradient accumulated", "start every step's gradient from zero"): {
        "gradients add up over the steps": {"accumulates": [True]}
    },
    ("learning rate", "learning_rate={torch.lr:g}"): {
        "the learning rate is {port.lr:.6g}, PyTorch's is {torch.lr:g}": {
            "lr": [lambda torch: torch.fitted("lr")]
        }
    },
    ("weight decay", "weight_decay={torch.decay:g}"): {
        "weight decay is {port.decay:.6g}, PyTorch's is {torch.decay:g}": {
            "decay": [lambda torch: torch.fitted("decay")]
        }
    },
}


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
        one = group or groups[0]
        right = {**one._asdict(), "fitted": functools.partial(runs.fitted, one, group)}
        for table in _tables(one):
            for name, fix, explanation, changes in mistakes(table, right):
                evidence.try_(name)
                after = runs.distance(changes, group)
                if after <= 1.0 and after < 1e-2 * before:
                    return Cause(name, place, explanation, fix, before * scale, after * scale)
    return None


def _tables(one: Options) -> list[Table]:
    """Return what people get wrong in an optimizer, the likeliest first."""
    # Nobody couples, dampens or looks ahead with what there is none of.
    decay = [_DECAY] if one.decay else []
    sgd = [_NESTEROV, _MOMENTUM, _DAMPENING] if one.momentum else [_MOMENTUM]
    return [*decay, _DECAYS, *([_ADAM] if one.adaptive else sgd), _OTHERWISE]


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

    def fitted(self, one: Options, group: Options | None, field: str) -> float:
        """Return the value of a setting that makes the first wrong update the port's.

        The update has to be linear in it, as it is in the learning rate, and where a setting is
        used for the first time in the others. With updates a at one value and b at the next, the
        port's p is at a + s (b - a): least squares give s = (b - a)(p - a) / (b - a)(b - a).
        """
        value = getattr(one, field)
        if field == "momentum":  # there is none at 0 to be linear in
            value = value or 0.5
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
                return value + top / bottom if bottom else value
        return value


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
