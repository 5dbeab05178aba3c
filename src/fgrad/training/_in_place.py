"""Updates of parameters where they lie in memory, which XLA makes on a CPU only if it is helped."""

import functools
import operator
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax

from fgrad.types import Params

_SMALL: Final = 2**12  # numbers in all, up to which a copy costs less than the choice


def all_before_any(grads: Params) -> Params:
    """Return the gradients, on a CPU each of them as if it depended on all, where that pays.

    XLA updates a parameter where it lies if nothing reads the old value later, which it can tell
    only by what depends on what; else it copies the parameter every step.

    Args:
        grads: A pytree of arrays.
    """
    leaves = jax.tree.leaves(grads)
    if sum(leaf.size for leaf in leaves) <= _SMALL:
        return grads
    axes = [axis for leaf in leaves for axis in jax.typeof(leaf).sharding.spec]
    if not jax.sharding.get_abstract_mesh().empty or any(axis is not None for axis in axes):
        return grads  # in `jax.shard_map`, or where axes lie on devices, leaves cannot be mixed
    return lax.platform_dependent(grads, cpu=_mixed, default=lambda grads: grads)


def _mixed(grads: Params) -> Params:
    """Return the gradients by a choice that depends on all, and that no number turns the other way.

    What is meant for this, `lax.optimization_barrier`, a CPU's compiler drops before it looks for
    what to copy.
    """
    leaves = [leaf for leaf in jax.tree.leaves(grads) if leaf.size]
    firsts = [leaf[(0,) * leaf.ndim] for leaf in leaves]
    never = functools.reduce(operator.or_, [(first > 0) & (first < 0) for first in firsts], False)
    return jax.tree.map(lambda leaf: jnp.where(never, jnp.zeros_like(leaf), leaf), grads)
