r"""PyTorch's CPU arithmetic, rounding for rounding, in a compiled program.

Eager PyTorch rounds after every operation. A compiler may fuse a product with the sum that follows
and round once: more accurate, and other digits. Here is what a run needs in order to equal eager
PyTorch to the last bit: a way to compile that fuses nothing, and the few PyTorch kernels that
themselves fuse or reorder. (One exception: XLA:CPU flushes numbers below 1.2e-38 to zero.)
"""

import functools
import operator
import platform
from pathlib import Path
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from fgrad import _checks
from fgrad.types import Array, ArrayLike

COMPILER_OPTIONS: Final[dict[str, str | int]] = {
    # Every operation is a loop of its own, through memory...
    "xla_disable_hlo_passes": "fusion,algsimp",
    # ...and LLVM does not look across loops.
    "xla_backend_optimization_level": 0,
}
"""`jax.jit(..., compiler_options=...)` under which XLA:CPU rounds after every operation."""

PROCESSORS: Final = ("intel", "amd")
"""The kinds of processor on which PyTorch's matrix product rounds differently."""

_LANES, _ACCUMULATORS, _LEVELS = 8, 4, 4  # of PyTorch's sum, compiled for AVX2


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Array:
    r"""Return $ab + c$ of float32, rounded once.

    The product of two float32 is exact in float64. Rounding the sum there first makes a difference
    in about one case in $2^{29}$.

    Args:
        a: A float32 array.
        b: A float32 array that broadcasts against `a`.
        c: A float32 array that broadcasts against both.

    Returns:
        A float32 array.

    Raises:
        ValueError: If `jax_enable_x64` is off.

    Example:
        >>> import jax, numpy as np
        >>> a, c = np.float32(1 + 2**-12), np.float32(-1 - 2**-11)
        >>> with jax.enable_x64(True):
        ...     print(a * a + c, fused_multiply_add(a, a, c))
        0.0 5.9604645e-08
    """
    return (_exact_product(a, b) + jnp.asarray(c, jnp.float64)).astype(jnp.float32)


def power(base: ArrayLike, exponent: float) -> Array:
    r"""Return $\mathrm{base}^{\mathrm{exponent}}$ by the C library's `pow`, as Python's floats do.

    A compiler multiplies where the exponent is 2, which rounds otherwise in about one case in a
    thousand.

    Args:
        base: An array of floating point.
        exponent: The exponent.

    Returns:
        An array of `base`'s shape and dtype.

    Example:
        >>> import numpy as np
        >>> print(power(np.float32([3.0, -0.5]), 2.0))
        [9.   0.25]
    """
    base = jnp.asarray(base)
    # An exponent that depends on the data is no constant that the compiler could look at.
    # It has no derivative, though: the logarithm of a negative base would be NaN.
    data = lax.stop_gradient(base)
    return lax.pow(base, jnp.where(jnp.isnan(data), data, jnp.asarray(exponent, base.dtype)))


def sum_in_order(values: ArrayLike) -> Array:
    """Return the sum over the leading axis, first to last from zero, as Python's `sum` rounds it.

    Args:
        values: An array of shape (n, ...).

    Returns:
        The sum, of shape (...).

    Example:
        >>> import numpy as np
        >>> print(sum_in_order(np.float32([1, 2**-24, 2**-24])))
        1.0
    """
    values = jnp.asarray(values)

    def add(total: Array, value: Array) -> tuple[Array, None]:
        return total + value, None

    total, _ = lax.scan(add, jnp.zeros_like(values, shape=values.shape[1:]), values)
    return jnp.asarray(total)


def sum_as_pytorch(values: ArrayLike) -> Array:
    """Return the sum of a vector in the order of PyTorch's x86-64 CPU kernel.

    The kernel reads eight lanes at a time into four accumulators, which long vectors cascade
    through four levels; then it adds what fills no register, and the lanes one by one.

    Args:
        values: A float32 array of shape (n,).

    Returns:
        `torch.sum(values)`, a scalar; above 32,768 numbers, as PyTorch does it on one thread.

    Example:
        >>> import numpy as np
        >>> print(sum_as_pytorch(np.float32([2**-24, 1, 0, 0, 2**-24])))
        1.0000001
    """
    values = jnp.asarray(values)
    whole = len(values) // _LANES * _LANES
    if whole == 0:
        return _sum_rows(values)
    lanes = _sum_rows(values[:whole].reshape(-1, _LANES))
    return sum_in_order(jnp.concatenate([values[whole:], lanes]))


def _sum_rows(rows: Array) -> Array:
    """Add every fourth row into one of four accumulators, and those together."""
    whole = len(rows) // _ACCUMULATORS * _ACCUMULATORS
    turns = rows[:whole].reshape(-1, _ACCUMULATORS, *rows.shape[1:])
    first, *others = _cascade(turns)
    return functools.reduce(operator.add, [first, *rows[whole:], *others])


def _cascade(rows: Array) -> Array:
    """Add the rows block by block, the blocks' sums block by block, and so on."""
    block = 1 << max(4, max(len(rows) - 1, 0).bit_length() // _LEVELS)
    partial = []
    for _ in range(_LEVELS - 1):
        whole = len(rows) // block * block
        partial.append(sum_in_order(rows[whole:]))
        blocks = rows[:whole].reshape(-1, block, *rows.shape[1:])
        rows = sum_in_order(jnp.swapaxes(blocks, 0, 1))
    return functools.reduce(operator.add, [*partial, sum_in_order(rows)])


def processor() -> str:
    """Return the kind of this machine's processor, as PyTorch's matrix library tells it: by vendor.

    Returns:
        `"intel"`, or `"amd"` for any other.

    Example:
        >>> processor() in PROCESSORS
        True
    """
    try:
        description = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux; Windows says "Intel64 Family 6 Model 151 Stepping 2, GenuineIntel"
        description = platform.processor()
    return "intel" if "GenuineIntel" in description else "amd"


def linear(x: Array, weight: Array, bias: Array, *, processor: str) -> Array:
    r"""Return $x w + b$ as PyTorch computes `nn.Linear(1, 1)`, its gradients too.

    Forward rounds twice. Backward, the bias's gradient is PyTorch's sum, and the weight's a dot
    product from the first sample to the last: product and sum are rounded once on an Intel
    processor, each on an AMD one. (From 256 samples on, Intel's takes another order.)

    Args:
        x: The inputs, float32 of shape (n, 1).
        weight: Float32 of shape (1, 1).
        bias: Float32 of shape (1,).
        processor: Whose PyTorch to equal, `"intel"` or `"amd"`; this machine's is `processor()`.

    Returns:
        The outputs, of shape (n, 1).

    Raises:
        ValueError: If `processor` is another word; and when differentiated for Intel's, if
            `jax_enable_x64` is off.

    Example:
        >>> import numpy as np
        >>> print(linear(np.float32([[3]]), np.float32([[2]]), np.float32([1]), processor="amd"))
        [[7.]]
    """
    if processor not in PROCESSORS:
        raise ValueError(f"processor: expected {' or '.join(PROCESSORS)}, got {processor!r}")
    return _linear(x, weight, bias, processor == "intel")


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _linear(x: Array, weight: Array, bias: Array, fused: bool) -> Array:
    return x * weight[0, 0] + bias[0]


def _linear_forward(
    x: Array, weight: Array, bias: Array, fused: bool
) -> tuple[Array, tuple[Array, Array]]:
    return _linear(x, weight, bias, fused), (x, weight)


def _linear_backward(
    fused: bool, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array, Array]:
    x, weight = residuals

    def accumulate(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        return fused_multiply_add(*pair, total), None

    if fused:
        weight_grad, _ = lax.scan(accumulate, jnp.zeros_like(weight[0]), (cotangent, x))
    else:  # the products are rounded before the loop that adds them: no compiler can fuse the two
        weight_grad = sum_in_order(cotangent * x)
    return cotangent * weight[0, 0], weight_grad[None], sum_as_pytorch(cotangent[:, 0])[None]


_linear.defvjp(_linear_forward, _linear_backward)


def sgd(lr: float) -> optax.GradientTransformation:
    r"""Return plain `torch.optim.SGD` for float32, with its one rounding.

    $$p \leftarrow \mathrm{round}(p - \mathrm{lr} \cdot g)$$

    The update is the exact product in float64; `optax.apply_updates` adds it to the float32
    parameters and rounds then. It is for runs that are to equal PyTorch's to the last bit; for
    momentum, weight decay, a schedule or another precision take `optim.sgd`.

    Args:
        lr: The learning rate, a number above 0 in float32.

    Returns:
        An optax transformation without state.

    Raises:
        ValueError: If `lr` is not above 0 or not finite; and when it is used, if `jax_enable_x64`
            is off.

    Example:
        >>> import jax, numpy as np
        >>> with jax.enable_x64(True):
        ...     updates, _ = sgd(0.01).update({"w": np.float32(0.7)}, optax.EmptyState())
        >>> print(updates["w"].dtype, updates["w"])
        float64 -0.006999999724328521
    """
    scale = np.asarray(-_checks.finite("lr", lr, dtype=np.dtype(np.float32)), np.float32)
    if not scale < 0:
        raise ValueError(f"lr: expected above 0, got {lr}")
    return optax.stateless(
        lambda grads, params: jax.tree.map(lambda grad: _exact_product(scale, grad), grads)
    )


def _exact_product(a: ArrayLike, b: ArrayLike) -> Array:
    if jnp.result_type(float) != jnp.float64:
        raise ValueError("jax_enable_x64: expected True, to round as PyTorch does, got False")
    return jnp.asarray(a, jnp.float64) * jnp.asarray(b, jnp.float64)
