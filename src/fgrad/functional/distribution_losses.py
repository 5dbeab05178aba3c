"""Losses of one distribution against another."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from fgrad import _checks
from fgrad.functional._reduction import REDUCTIONS, check_reduction, reduced
from fgrad.types import Array, ArrayLike


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Array:
    r"""Return the cross entropy of logits against probabilities of yes.

    $$\ell_i = -w_i \left(p_i\, y_i \log \sigma(x_i) + (1 - y_i) \log(1 - \sigma(x_i))\right)$$

    Args:
        input: $x$, of any shape.
        target: $y$, from 0 to 1, of the same shape.
        weight: $w$, of a shape that broadcasts to `input`'s; by default all ones.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"mean"` or `"sum"`; the mean is over the number of elements.
        pos_weight: $p$, of a shape that broadcasts to `input`'s; by default all ones.

    Returns:
        $\ell$, of `input`'s shape; or its mean or sum, a scalar. The mean of nothing is NaN.

    Raises:
        ValueError: If a shape is another, the dtypes are not one floating-point type, or
            `reduction` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, target = jnp.array([0.0, 100.0]), jnp.array([1.0, 0.0])
        >>> print(binary_cross_entropy_with_logits(logits, target, reduction="none"))
        [  0.6931472 100.       ]

    Source: `torch.nn.functional.binary_cross_entropy_with_logits`.
    """
    check_reduction(reduction, size_average=size_average, reduce=reduce)
    input = _checks.floating("input", input)
    target = _checks.floating("target", target, dtype=input.dtype, shape=input.shape)
    positive = (
        jnp.ones_like(input)
        if pos_weight is None
        else _checks.broadcastable("pos_weight", pos_weight, input)
    )
    losses = _binary_cross_entropy(*(_checks.widen(x) for x in (input, target, positive)))
    if weight is not None:
        losses = losses * _checks.widen(_checks.broadcastable("weight", weight, input))
    return reduced(losses, reduction).astype(input.dtype)


def kl_div(
    input: ArrayLike,
    target: ArrayLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Array:
    r"""Return the Kullback-Leibler divergence of `input` from `target`, element by element.

    $$\ell_i = y_i (\log y_i - x_i)$$

    Args:
        input: $x$, log-probabilities of any shape.
        target: $y$, probabilities of the same shape; their logarithms with `log_target`.
        size_average: Must be None; PyTorch has deprecated it for `reduction`.
        reduce: Must be None; PyTorch has deprecated it for `reduction`.
        reduction: `"none"`, `"sum"`; `"batchmean"`, the sum over the length of the first axis,
            which is the divergence itself; or `"mean"`, over the number of elements.
        log_target: Whether `target` holds logarithms.

    Returns:
        $\ell$, of `input`'s shape; or its mean or sum, a scalar. The mean of nothing is NaN.

    Raises:
        ValueError: If the shapes differ, the dtypes are not one floating-point type, `log_target`
            is no bool, or `reduction` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> log_probs = jnp.log(jnp.array([[0.5, 0.5]]))
        >>> print(kl_div(log_probs, jnp.array([[1.0, 0.0]]), reduction="batchmean"))
        0.6931472

    Source: `torch.nn.functional.kl_div`.
    """
    check_reduction(
        reduction, size_average=size_average, reduce=reduce, known=(*REDUCTIONS, "batchmean")
    )
    input = _checks.floating("input", input)
    target = _checks.floating("target", target, dtype=input.dtype, shape=input.shape)
    _checks.flag("log_target", log_target)
    x, y = _checks.widen(input), _checks.widen(target)
    losses = jnp.exp(y) * (y - x) if log_target else xlogy(y, y) - y * x
    if reduction == "batchmean":
        # A scalar is a batch of one.
        batch = jnp.asarray(input.shape[0] if input.ndim else 1, x.dtype)
        return (jnp.sum(losses) / batch).astype(input.dtype)
    return reduced(losses, reduction).astype(input.dtype)


@jax.custom_jvp
def _binary_cross_entropy(logits: Array, target: Array, positive: Array) -> Array:
    """Return the loss of each element."""
    positives = (positive - 1) * target + 1
    return (1 - target) * logits - positives * jax.nn.log_sigmoid(logits)


@_binary_cross_entropy.defjvp
def _binary_cross_entropy_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    # The derivative of the formula above loses its digits where the loss is small: this one
    # does not.
    logits, target, positive = primals
    log_yes, log_no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    yes = positive * target
    slopes = (
        (yes + 1 - target) * jax.nn.sigmoid(logits) - yes,
        log_no - positive * log_yes,
        -target * log_yes,
    )
    change = sum(slope * tangent for slope, tangent in zip(slopes, tangents, strict=True))
    return _binary_cross_entropy(*primals), jnp.asarray(change)
