"""PyTorch's update rules as people write them, right or with a mistake, in NumPy."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fgrad.parity.recording import NumPy


class Options(NamedTuple):
    """What an optimizer does with a gradient.

    Attributes:
        lr: The learning rate; negative climbs.
        momentum: How much of the buffer is kept.
        dampening: How much of a gradient does not enter it.
        dampens_first: Whether the first gradient is dampened as well.
        nesterov: Whether the step looks ahead.
        decay: The weight decay.
        decoupled: Whether it acts on the weights, and not on the gradient.
        decay_unscaled: Whether a decoupled decay is not scaled by the learning rate.
        decays_vectors: Whether it acts on parameters of one axis or none, too.
        adaptive: Whether a step is divided by the root of a second moment.
        b1: The first moment's decay.
        b2: The second moment's.
        eps: What is added to the root.
        eps_inside: Whether it is added under the root.
        corrects: Whether the first and the second moment are corrected for starting at zero.
        every: Gradients of so many steps are averaged for one update.
        accumulates: Whether gradients add up, as without zero_grad.
    """

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    dampens_first: bool = False
    nesterov: bool = False
    decay: float = 0.0
    decoupled: bool = False
    decay_unscaled: bool = False
    decays_vectors: bool = True
    adaptive: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_inside: bool = False
    corrects: tuple[bool, bool] = (True, True)
    every: int = 1
    accumulates: bool = False


def options_of(kind: str, settings: Mapping[str, Any]) -> Options | None:
    """Return what a recorded optimizer does, or None if its rule is not known here.

    Args:
        kind: PyTorch's class.
        settings: Its options.

    Returns:
        The options.

    Example:
        >>> options_of("SGD", {"lr": 0.1, "momentum": 0.9}).momentum
        0.9
    """
    sign = -1.0 if settings.get("maximize") else 1.0
    if kind == "SGD":
        return Options(
            sign * settings["lr"],
            settings.get("momentum", 0.0),
            settings.get("dampening", 0.0),
            nesterov=bool(settings.get("nesterov")),
            decay=sign * settings.get("weight_decay", 0.0),
        )
    if kind in ("Adam", "AdamW") and not settings.get("amsgrad") and sign > 0:
        return Options(
            settings["lr"],
            decay=settings.get("weight_decay", 0.0),
            decoupled=bool(settings.get("decoupled_weight_decay", kind == "AdamW")),
            adaptive=True,
            b1=settings["betas"][0],
            b2=settings["betas"][1],
            eps=settings["eps"],
        )
    return None


def run(options: Options, gradients: Sequence[NumPy], weights: Sequence[NumPy]) -> list[NumPy]:
    """Return a parameter after each step, every step from its recorded weight.

    Args:
        options: The rule.
        gradients: The recorded gradients.
        weights: The recorded weight before each step.

    Returns:
        The new weights.

    Example:
        >>> run(Options(lr=0.5), [np.ones(1)], [np.zeros(1)])
        [array([-0.5])]
    """
    after, kept = [], np.zeros_like(weights[0])
    moments = [np.zeros_like(weights[0]), np.zeros_like(weights[0])]
    gathered, updates = np.zeros_like(weights[0]), 0
    for step, (gradient, weight) in enumerate(zip(gradients, weights, strict=True)):
        gathered = gathered + gradient
        if (step + 1) % options.every:
            after.append(weight)
            continue
        used = gathered / options.every
        if not options.accumulates:
            gathered = np.zeros_like(gathered)
        updates += 1
        decay = options.decay if options.decays_vectors or weight.ndim > 1 else 0.0
        if decay and not options.decoupled:
            used = used + decay * weight
        if options.adaptive:
            moments, move = _adam(options, moments, used, updates)
        else:
            kept, move = _sgd(options, kept, used, updates)
        if decay and options.decoupled:
            move = move + decay * weight / (options.lr if options.decay_unscaled else 1.0)
        after.append(weight - options.lr * move)
    return after


def _sgd(options: Options, kept: NumPy, gradient: NumPy, updates: int) -> tuple[NumPy, NumPy]:
    if not options.momentum:
        return kept, gradient
    dampened = updates > 1 or options.dampens_first
    share = 1 - options.dampening if dampened else 1.0
    kept = options.momentum * kept + share * gradient
    return kept, share * gradient + options.momentum * kept if options.nesterov else kept


def _adam(
    options: Options, moments: list[NumPy], gradient: NumPy, updates: int
) -> tuple[list[NumPy], NumPy]:
    (first, second), b1, b2 = moments, options.b1, options.b2
    first = b1 * first + (1 - b1) * gradient
    second = b2 * second + (1 - b2) * gradient**2
    # Moments start at zero: at b = 0.9 the first has a tenth of its size, the t-th 1 - b**t of it.
    now = 1 - b1**updates if options.corrects[0] else 1.0
    mean = first / now
    if options.nesterov:  # NAdam's look ahead is a gradient further, as optax and Keras have it
        ahead = 1 - b1 ** (updates + 1) if options.corrects[0] else 1.0
        mean = b1 * first / ahead + (1 - b1) * gradient / now
    square = second / (1 - b2**updates) if options.corrects[1] else second
    inside, outside = (options.eps, 0.0) if options.eps_inside else (0.0, options.eps)
    return [first, second], mean / (np.sqrt(square + inside) + outside)
