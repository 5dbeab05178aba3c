"""An optax state's arrays that stand for PyTorch's optimizer buffers."""

from typing import Any

import jax

from fgrad.parity.ports import Tree
from fgrad.types import Params

_TORCH = {
    "trace": ("momentum_buffer",),
    "mu": ("exp_avg",),
    "nu": ("exp_avg_sq", "square_avg"),
    "nu_max": ("max_exp_avg_sq",),
    "sum_of_squares": ("sum",),
}


def find_buffers(state: Params, params: Tree, count: int) -> dict[tuple[str, ...], list[Any]]:
    """Return what an optimizer keeps for every parameter.

    Args:
        state: Its state; where optimizers are partitioned, that of each.
        params: The parameters' structure.
        count: How many parameters there are.

    Returns:
        By PyTorch's names for it, an array for each parameter, or None where there is none.

    Example:
        >>> import optax, jax.numpy as jnp
        >>> params = {"w": jnp.zeros(2)}
        >>> state = optax.sgd(0.1, momentum=0.9).init(params)
        >>> find_buffers(state, Tree(params), 1)
        {('momentum_buffer',): [Array([0., 0.], dtype=float32)]}
    """
    paths = dict(jax.tree_util.tree_leaves_with_path(params.bare(list(range(count)))))
    found: dict[tuple[str, ...], list[Any]] = {}
    for path, value in jax.tree_util.tree_leaves_with_path(state):
        for at in range(1, len(path) + 1):
            field = jax.tree_util.keystr(path[at - 1 : at], simple=True)
            if field in _TORCH and path[at:] in paths:
                kept = found.setdefault(_TORCH[field], [None] * count)
                kept[paths[path[at:]]] = value
    return found
