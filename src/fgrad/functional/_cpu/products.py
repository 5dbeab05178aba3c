"""Products of matrices, with derivatives as fast as they are themselves on a CPU."""

import jax
from jax import lax

from fgrad.types import Array

try:
    from jax.experimental.layout import Layout, with_layout_constraint
except ImportError:  # JAX does not promise it, and without it nothing but speed is lost
    HAS_LAYOUTS = False
else:
    HAS_LAYOUTS = True


def laid_out(values: Array, order: tuple[int, ...] | None = None) -> Array:
    """Return the same array, with its axes in memory as in `order`, by default as they stand.

    XLA would rather relabel a transpose than move anything, and later slices would run strided.
    """
    if not HAS_LAYOUTS:
        return values
    order = tuple(range(values.ndim)) if order is None else order
    return with_layout_constraint(values, Layout(major_to_minor=order))


@jax.custom_jvp
def product(left: Array, right: Array) -> Array:
    """Return left @ right, of two matrices or of two stacks of them."""
    return left @ right


@product.defjvp
def _product_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    left, right = primals
    # Of the two, the transposed product is the faster where the left's transpose is real.
    transposed = laid_out(left.mT)
    stack = tuple(range(left.ndim - 2))
    dimensions = ((left.ndim - 2,), (left.ndim - 2,)), (stack, stack)
    by_right = lax.dot_general(transposed, tangents[1], dimensions)
    return left @ right, tangents[0] @ right + by_right
