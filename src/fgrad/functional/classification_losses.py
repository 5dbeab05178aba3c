"""Losses of scores against classes."""

import jax
import jax.numpy as jnp
import numpy as np

from fgrad import _checks
from fgrad.functional._reduction import check_reduction, reduced
from fgrad.types import Array, ArrayLike


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
) -> Array:
    r"""Return the negative log-likelihood of the target classes.

    $$\ell_i = -w_{y_i} x_{i, y_i}$$

    The mean is $\sum_i \ell_i / \sum_i w_{y_i}$ over the targets that are not ignored; with none it
    is NaN.

    Args:
        input: $x$, log-probabilities of shape (N, C, d1, ...) or (C,).
        target: $y$, class indices from 0 to C - 1, integers of shape (N, d1, ...) or (). One out of
            range raises where its value is known; under `jax.jit` or `jax.vmap` it makes the loss
            NaN.
        weight: $w$, of shape (C,); by default all ones.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        ignore_index: A target, in range or not, whose loss is 0.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"mean"` or `"sum"`.

    Returns:
        $\ell$, of `target`'s shape; or its mean or sum, a scalar.

    Raises:
        ValueError: If a shape, a dtype or a class index is another, or `reduction` another word.

    Example:
        >>> import jax.numpy as jnp
        >>> log_probs = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]]))
        >>> print(nll_loss(log_probs, jnp.array([0, 0]), reduction="none"))
        [0.6931472 1.3862944]

    Source: `torch.nn.functional.nll_loss`.
    """
    check_reduction(reduction, size_average=size_average, reduce=reduce)
    scores = _scores(input)
    weight = _class_weight(weight, scores)
    index, ignored = _class_indices(target, scores, ignore_index)
    losses, weights = _pick(_checks.widen(scores), index, ignored, weight)
    return reduced(losses, reduction, total=jnp.sum(weights)).astype(scores.dtype)


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Return the cross entropy of scores, before any softmax, against classes.

    $$\ell_i = -\sum_c w_c\, q_{i,c} \log \frac{e^{x_{i,c}}}{\sum_k e^{x_{i,k}}}, \qquad
      q_{i,c} = (1 - \epsilon)\, y_{i,c} + \frac{\epsilon}{C}$$

    where $y$ is the target as probabilities. The mean over class indices is
    $\sum_i \ell_i / \sum_i w_{y_i}$ over those that are not ignored; over class probabilities it
    is over their number.

    Args:
        input: $x$, of shape (N, C, d1, ...) or (C,).
        target: Class indices from 0 to C - 1, integers of shape (N, d1, ...) or (); or class
            probabilities, of `input`'s shape. An index out of range raises where its value is
            known; under `jax.jit` or `jax.vmap` it makes the loss NaN.
        weight: $w$, of shape (C,); by default all ones.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        ignore_index: A target, in range or not, whose loss is 0; negative with probabilities, where
            it means nothing.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"mean"` or `"sum"`.
        label_smoothing: $\epsilon$, from 0 to 1.

    Returns:
        $\ell$, of shape (N, d1, ...) or (); or its mean or sum, a scalar. The mean of nothing is
        NaN.

    Raises:
        ValueError: If a shape, a dtype or a class index is another, `label_smoothing` is out of
            range, or `reduction` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.array([[0.0, 0.0], [0.0, 100.0]])
        >>> print(cross_entropy(scores, jnp.array([0, 1]), reduction="none"))
        [0.6931472 0.       ]

    Source: `torch.nn.functional.cross_entropy`.
    """
    check_reduction(reduction, size_average=size_average, reduce=reduce)
    scores = _scores(input)
    axis, classes = _class_axis(scores)
    log_probs = weighted = jax.nn.log_softmax(_checks.widen(scores), axis)
    smoothing = _checks.number(
        "label_smoothing",
        label_smoothing,
        "from 0 to 1",
        lambda value: 0 <= value <= 1,
        log_probs.dtype,
    )
    weight = _class_weight(weight, scores)
    if weight is not None:
        # One weight a class, along the class axis of the scores.
        shape = [1] * scores.ndim
        shape[axis] = classes
        weighted = log_probs * weight.reshape(shape)
    if jnp.shape(target) == scores.shape:
        if _checks.integer("ignore_index", ignore_index) >= 0:
            raise ValueError(
                "ignore_index: expected a negative one with class probabilities, got "
                f"{ignore_index}"
            )
        probs = _checks.widen(_checks.floating("target", target, dtype=scores.dtype))
        if not _checks.is_zero(smoothing):
            probs = (1 - smoothing) * probs + smoothing / classes
        losses = -jnp.sum(weighted * probs, axis)
        return reduced(losses, reduction).astype(scores.dtype)
    index, ignored = _class_indices(target, scores, ignore_index)
    losses, weights = _pick(log_probs, index, ignored, weight)
    if not _checks.is_zero(smoothing):
        uniform = jnp.where(ignored, 0, -jnp.sum(weighted, axis))
        losses = (1 - smoothing) * losses + smoothing / classes * uniform
    return reduced(losses, reduction, total=jnp.sum(weights)).astype(scores.dtype)


def _scores(input: ArrayLike) -> Array:
    scores = _checks.floating("input", input)
    if scores.ndim < 1 or _class_axis(scores)[1] == 0:
        raise ValueError(
            "input: expected shape (N, C, d1, ...) or (C,), with at least one class, got "
            f"{scores.shape}"
        )
    return scores


def _class_axis(scores: Array) -> tuple[int, int]:
    """Return the axis of the classes, and how many there are."""
    axis = min(1, scores.ndim - 1)
    return axis, scores.shape[axis]


def _class_weight(weight: ArrayLike | None, scores: Array) -> Array | None:
    """Return the classes' weights, ready to compute with; None for ones."""
    if weight is None:
        return None
    _, classes = _class_axis(scores)
    return _checks.widen(_checks.floating("weight", weight, dtype=scores.dtype, shape=(classes,)))


def _class_indices(target: ArrayLike, scores: Array, ignore_index: int) -> tuple[Array, Array]:
    """Return the class indices, and which of them are to be ignored."""
    axis, classes = _class_axis(scores)
    index = _checks.array("target", target)
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    if index.shape != expected:
        raise ValueError(
            f"target: expected shape {expected} for input of shape {scores.shape}, got "
            f"{index.shape}"
        )
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise ValueError(f"target: expected integers, class indices, got {index.dtype}")
    index = index.astype(jnp.result_type(int))
    limits = np.iinfo(index.dtype)
    if not limits.min <= _checks.integer("ignore_index", ignore_index) <= limits.max:
        raise ValueError(f"ignore_index: expected an {index.dtype}, got {ignore_index}")
    if not isinstance(target, jax.core.Tracer):
        values = np.asarray(target)
        wrong = (values != ignore_index) & ((values < 0) | (values >= classes))
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"target: expected class indices from 0 to {classes - 1}, or ignore_index, "
                f"{ignore_index}, got {values[place]} at index {place}"
            )
    return index, index == ignore_index


def _pick(
    log_probs: Array, index: Array, ignored: Array, weight: Array | None
) -> tuple[Array, Array]:
    """Return the losses of the target classes, and their weights; both 0 where ignored."""
    axis, classes = _class_axis(log_probs)
    # JAX counts a negative index from the end. Past the end instead, it reads NaN.
    index = jnp.where(index < 0, classes, index)
    picked = jnp.take_along_axis(log_probs, jnp.expand_dims(index, axis), axis, mode="fill")
    picked = jnp.where(ignored, 0, jnp.squeeze(picked, axis))
    weights = jnp.where(ignored, 0, 1).astype(log_probs.dtype)
    if weight is not None:
        where = jax.typeof(index).sharding  # the labels may lie on many devices: so do the weights
        found = weight.at[index].get(mode="fill", fill_value=jnp.nan, out_sharding=where)
        weights = jnp.where(ignored, 0, found)
    # A difference, so that what is ignored is 0 and not -0.
    return 0 - picked * weights, weights
