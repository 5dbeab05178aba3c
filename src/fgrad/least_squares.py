"""Where descent on a linear model ends: the least-squares optimum, in closed form."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fgrad.types import ApplyFn, ArrayLike, Params


def least_squares(apply: ApplyFn, params: Params, x: ArrayLike, y: ArrayLike) -> Params:
    r"""Return the parameters that minimise the squared error of a model linear in them.

    $$\theta^* = \arg\min_\theta \lVert A\theta - (y - f(0)) \rVert^2,
      \qquad A = \partial f / \partial\theta$$

    $f$ is affine in $\theta$, so its Jacobian $A$ is the same everywhere. Where several minima
    exist, it is the one of least norm.

    Args:
        apply: `apply(params, x) -> y`, linear in `params`.
        params: Any parameters of the model: their structure and dtype are what counts.
        x: The inputs, as `apply` takes them.
        y: The targets, of `apply`'s output shape.

    Returns:
        Parameters structured as `params`.

    Raises:
        ValueError: If `y` has another shape than the model's output.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.models import linear
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> best = least_squares(linear.apply, {"weight": jnp.ones((1, 1))}, x, 2 * x)
        >>> print(f"{best['weight'].item():.5f}")
        2.00000

    Source: the lesson on automatic differentiation, which finds the optimum by descent.
    """
    zeros, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, params))
    at_zero = apply(unravel(zeros), x)
    if jnp.shape(y) != at_zero.shape:
        raise ValueError(f"y: expected shape {at_zero.shape}, got {jnp.shape(y)}")
    jacobian = jax.jacfwd(lambda flat: apply(unravel(flat), x).ravel())(zeros)
    residual = (jnp.asarray(y, at_zero.dtype) - at_zero).ravel()
    solution, *_ = jnp.linalg.lstsq(jacobian, residual)
    return unravel(solution)
