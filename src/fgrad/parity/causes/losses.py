"""Why a loss differs, taken of the same output and target."""

import math
from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np

import fgrad.functional as F
from fgrad.parity.causes.evidence import Evidence, Hypothesis
from fgrad.parity.causes.formulas import Setting
from fgrad.parity.causes.mistakes import Changes, Table, hypotheses
from fgrad.parity.recording import NumPy
from fgrad.parity.results import Cause
from fgrad.parity.starting import arrays
from fgrad.types import Array

_CLASSES: Table = {
    ("softmax twice", "give the loss the scores as they are"): {
        "the loss takes the softmax of what a softmax was taken of": {"given": ["probabilities"]}
    },
    ("softmax axis", "log_softmax(scores, axis=1)"): {
        "the loss takes the softmax over axis {port.axis}, not over the classes": {"axis": range(4)}
    },
    ("missing softmax", "take log_softmax of the scores, axis 1, first"): {
        "the loss takes the scores for log-probabilities": {"given": ["log-probabilities"]}
    },
    ("label smoothing", "label_smoothing={torch.smoothing}, as PyTorch has it"): {
        "the labels are smoothed by {port.smoothing}": {"smoothing": [0.1, 0.05, 0.2, 0.0]}
    },
}
_VALUES: Table = {
    ("other loss", "take PyTorch's loss"): {
        "the loss is the {port.reduction} of {port.kind}": {
            "kind": ["squared errors", "absolute errors", "Huber's errors"],
            "reduction": ["mean", "sum"],
        },
        "the loss is the root of the mean square": {"kind": ["root"]},
    }
}


def explain(evidence: Evidence) -> Cause | None:
    """Return the mistake behind another loss.

    Args:
        evidence: The mismatch and its port.

    Returns:
        The cause, or None.
    """
    actual = np.asarray(evidence.forward.loss_of_recorded)
    return evidence.explain("loss", _of_loss(evidence), actual, evidence.step.loss)


def cross_entropy(
    output: NumPy, target: NumPy, given: str, axis: int, smoothing: float, ignore_index: int
) -> Array:
    """Return the mean cross entropy of class indices, the softmax taken over any axis."""
    scores = F.softmax(output, 1) if given == "probabilities" else jnp.asarray(output)
    if axis == 1 and given != "log-probabilities":
        return F.cross_entropy(scores, target, ignore_index=ignore_index, label_smoothing=smoothing)
    logs = scores if given == "log-probabilities" else F.log_softmax(scores, axis)
    return F.nll_loss(logs, target, ignore_index=ignore_index)


def of_values(output: NumPy, target: NumPy, kind: str, reduction: str) -> Array:
    """Return a loss of real values."""
    if kind == "root":
        return jnp.sqrt(F.mse_loss(output, target))
    losses = {"squared errors": F.mse_loss, "absolute errors": F.l1_loss}
    return losses.get(kind, F.huber_loss)(output, target, reduction=reduction)


def scaled(loss: NumPy, factor: float) -> NumPy:
    """Return a multiple of a loss."""
    return loss * np.asarray(factor, loss.dtype)


def _of_loss(evidence: Evidence) -> Iterator[Hypothesis]:
    step, config = evidence.step, evidence.checked.recording.loss["config"]
    batch = evidence.checked.recording.batches[step.batch]
    (output, *_), (target, *_) = arrays(step.output), arrays(batch[1])
    right = {"loss": step.loss, "factor": 1.0}
    yield from hypotheses(scaled, _reductions(output, target, config), right)
    both: dict[str, Setting] = {"output": output, "target": target}
    if target.dtype.kind in "iu" and target.shape == (output.shape[0], *output.shape[2:]):
        settings = {"given": "scores", "axis": 1, "smoothing": config.get("label_smoothing", 0.0)}
        settings["ignore_index"] = config.get("ignore_index", -100)
        yield from hypotheses(cross_entropy, _CLASSES, {**both, **settings})
    if target.dtype.kind == "f" and target.shape == output.shape:
        both["target"] = target.astype(output.dtype)
        yield from hypotheses(of_values, _VALUES, {**both, "kind": "", "reduction": ""})
    table: Table = {
        ("loss factor", "divide the loss by {port.factor:.6g}"): {
            "the loss is {port.factor:.6g} times PyTorch's": {
                "factor": [0.5, 2.0, -1.0, *_constant_ratio(evidence)]
            }
        }
    }
    yield from hypotheses(scaled, table, right)


def _reductions(output: NumPy, target: NumPy, config: Mapping[str, Setting]) -> Table:
    """Return the factors between a sum and a mean over some of the axes."""
    sizes = {
        target.shape[0] if target.ndim else 1: "the number of samples",
        target.size: "the number of target values",
        output.size: "the number of outputs",
    }
    for axis in range(1, output.ndim):
        sizes[math.prod(output.shape[axis:])] = f"the number of outputs along axes {axis} and on"
        sizes[math.prod(output.shape[:axis])] = f"the number of outputs along axes before {axis}"
    sums: dict[str, Changes] = {}
    means: dict[str, Changes] = {}
    for size, what in sizes.items():
        many = f"the loss is {size}, {what}, times"
        sums[f"{many} PyTorch's: a sum in place of a mean"] = {"factor": [float(size)]}
        means[f"{many} less than PyTorch's: a mean in place of a sum"] = {"factor": [1 / size]}
    return {
        ("loss reduction", f"take the {wanted}: PyTorch's reduction is {theirs!r}"): rows
        for wanted, rows in (("mean", sums), ("sum", means))
        for theirs in [config.get("reduction") or wanted]
    }


def _constant_ratio(evidence: Evidence) -> list[float]:
    """Return how many times PyTorch's loss the port's is, if that is so in every step."""
    losses = [c for c in evidence.comparisons if (c.stage, c.dtype) == ("loss", evidence.dtype)]
    ratios = [c.actual / c.expected for c in losses if c.expected]
    constant = len(ratios) > 1 and ratios[0] and np.ptp(ratios) <= 1e-5 * abs(ratios[0])
    return ratios[:1] if constant else []
