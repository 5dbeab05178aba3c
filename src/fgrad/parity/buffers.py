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


def find_buffers(
    state: Params, params: Tree, count: int
) -> dict[tuple[str, tuple[str, ...]], list[Any]]:
    """Return what an optimizer keeps for every parameter.

    Args:
        state: Its state.
        params: The parameters' structure.
        count: How many parameters there are.

    Returns:
        By the field's name and PyTorch's names for it, an array for each parameter.

    Example:
        >>> import optax, jax.numpy as jnp
        >>> params = {"w": jnp.zeros(2)}
        >>> state = optax.sgd(0.1, momentum=0.9).init(params)
        >>> list(find_buffers(state, Tree(params), 1))
        [('trace', ('momentum_buffer',))]
    """
    bare: Any = jax.tree.structure(params.bare([0] * count))
    found: dict[tuple[str, tuple[str, ...]], list[Any]] = {}

    def is_like_params(value: Params) -> bool:
        return jax.tree.structure(value) == bare

    for path, value in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_like_params):
        if is_like_params(value) and path:
            field = jax.tree_util.keystr(path[-1:], simple=True)
            if field in _TORCH:
                found[field, _TORCH[field]] = jax.tree.leaves(value)
    return found
