"""From the loss of every element to what `reduction` asks for."""

from collections.abc import Collection

import jax.numpy as jnp

from fgrad.types import Array

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(
    reduction: str,
    *,
    size_average: bool | None = None,
    reduce: bool | None = None,
    known: Collection[str] = REDUCTIONS,
) -> None:
    """Refuse an unknown `reduction`, and the arguments that PyTorch has deprecated for it."""
    for name, value in (("size_average", size_average), ("reduce", reduce)):
        if value is not None:
            raise ValueError(
                f"{name}: expected None, as PyTorch has deprecated it for reduction, got {value!r}"
            )
    if reduction not in known:
        raise ValueError(f"reduction: expected one of {', '.join(known)}, got {reduction!r}")


def reduced(losses: Array, reduction: str, *, total: Array | None = None) -> Array:
    """Return the losses, their sum, or their mean: the sum over `total`, by default their number.

    The mean of no losses is NaN, as PyTorch has it.
    """
    if reduction == "none":
        return losses
    if reduction == "sum":
        return jnp.sum(losses)
    return jnp.mean(losses) if total is None else jnp.sum(losses) / total
