"""The notes' first lesson on tensors and autograd, section by section, in JAX.

    python scripts/autograd_basics.py --output histogram.svg

Every number is computed as it is printed. PyTorch is used for one line, where it is installed.

Source: the lessons on automatic differentiation, tensors and backpropagation (docs/lessons.md).
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fgrad import cli, files
from fgrad.random import Generator
from fgrad.types import Array, ArrayLike

_BINS = 16


def tensors() -> None:
    """Print what vectors, matrices and tensors are."""
    for name, value in (
        ("scalar", jnp.array(1.0)),
        ("vector", jnp.array([1.0, 2.0])),
        ("matrix", jnp.array([[1.0, 2.0], [3.0, 4.0]])),
        ("tensor", jnp.arange(8.0).reshape(2, 2, 2)),
    ):
        print(f"{name}: {value.ndim} axes, shape {value.shape}, {value.dtype}, {value.tolist()}")


def polynomial(x: Array) -> Array:
    """Return the lesson's y = sum(x^2 + 4x + 1)."""
    return jnp.sum(x**2 + 4 * x + 1)


def gradient() -> None:
    """Print the lesson's derivative, 2x + 4."""
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    y, grad = jax.value_and_grad(polynomial)(x)
    print(f"x = {x.tolist()}")
    print(f"y = sum(x^2 + 4x + 1) = {y}")
    print(f"dy/dx = {grad.tolist()}, 2x + 4 = {(2 * x + 4).tolist()}")


def tracking() -> None:
    """Print what requires_grad, backward, accumulation, detach and no_grad become."""
    x, w = jnp.float32(3.0), jnp.float32(2.0)

    def product(w: Array, x: Array) -> Array:
        return w * x

    print(f"requires_grad=True: argnums; d(wx)/dw = {jax.grad(product, argnums=0)(w, x)}")
    print(f"y.backward(): jax.grad(y)(w) returns the gradient, {jax.grad(product)(w, x)}")
    first, second = jax.grad(product)(w, x), jax.grad(product)(w, 2 * x)
    print(f"w.grad accumulates: {first} + {second} = {first + second}, written out")
    print(f"w.grad.zero_(): nothing to zero; the next gradient is {jax.grad(product)(w, x)}")

    def detached(w: Array) -> Array:
        return w * jax.lax.stop_gradient(w)

    print(
        f"w.detach(): stop_gradient; d(w w)/dw = {jax.grad(lambda w: w * w)(w)}, with the "
        f"second w detached {jax.grad(detached)(w)}"
    )
    print(f"with torch.no_grad(): a function that is only called, {product(w, x)}, tracks nothing")


def jacobians() -> None:
    """Print a Jacobian both ways, and a product with it that never builds it."""
    x, v = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 10.0])

    def f(x: Array) -> Array:
        return jnp.stack([x[0] * x[1], x[1] * x[2]])

    print(f"f(x) = [x0 x1, x1 x2] at {x.tolist()}: {f(x).tolist()}")
    print(f"jacrev, a row at a time:    {jax.jacrev(f)(x).tolist()}")
    print(f"jacfwd, a column at a time: {jax.jacfwd(f)(x).tolist()}")
    (product,) = jax.vjp(f, x)[1](v)
    print(f"y.backward(v), v = {v.tolist()}: jax.vjp gives v J = {product.tolist()}")
    print(f"v times the Jacobian:       {(v @ jax.jacrev(f)(x)).tolist()}")


@jax.custom_vjp
def relu(x: Array) -> Array:
    """Return max(x, 0), whose derivative at 0 is 0, as PyTorch takes it."""
    return jnp.maximum(x, 0)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    return relu(x), x


def _relu_backward(x: Array, cotangent: Array) -> tuple[Array]:
    return (jnp.where(x > 0, cotangent, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def custom_function() -> None:
    """Print a function with a backward of its own beside the one that JAX derives."""
    x = jnp.array([-1.0, 0.0, 2.0])
    own = jax.vmap(jax.grad(relu))(x)
    derived = jax.vmap(jax.grad(lambda x: jnp.maximum(x, 0)))(x)
    print("torch.autograd.Function: jax.custom_vjp, a forward and a backward")
    print(f"relu at {x.tolist()}: {relu(x).tolist()}")
    print(f"its own backward:             {own.tolist()}")
    print(f"what JAX derives from max:    {derived.tolist()}, the tie at 0 shared")


def histogram(uniform: ArrayLike, normal: ArrayLike) -> None:
    """Print rand and randn as bars."""
    for name, values in (("rand, uniform on [0, 1)", uniform), ("randn, standard normal", normal)):
        print(
            f"{name}: mean {values.mean():.3f}, variance {values.var():.3f}, "
            f"least {values.min():.3f}, greatest {values.max():.3f}"
        )
        counts, edges = np.histogram(values, bins=_BINS, range=(-4, 4))
        for count, edge in zip(counts, edges[:-1], strict=True):
            print(f"{edge:6.1f} {'#' * round(60 * count / counts.max())}".rstrip())


def save_histogram(path: Path, uniform: ArrayLike, normal: ArrayLike) -> None:
    """Draw rand and randn, one above the other."""
    # Loaded here: the lesson is printed without it, and it takes a while.
    from matplotlib.figure import Figure

    from fgrad import plots

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in (("rand: uniform on [0, 1)", uniform), ("randn: standard normal", normal)):
        axes.hist(np.asarray(values), bins=80, range=(-4, 4), density=True, alpha=0.6, label=name)
    axes.set(xlabel="value", ylabel="density")
    axes.legend()
    files.write_whole(path, plots.encode(figure, path.suffix))


def memory() -> None:
    """Print which conversions share memory: write to one side and look at the other."""
    # XLA shares memory that starts at a multiple of 64 bytes; NumPy promises no more than 16.
    raw = np.zeros(32, np.float32)
    start = -raw.ctypes.data % 64 // 4
    source = raw[start : start + 8]
    for name, convert in (
        ("jnp.array(numpy)", jnp.array),
        ("jnp.asarray(numpy)", jnp.asarray),
        ("jnp.from_dlpack(numpy), aligned to 64 bytes", jnp.from_dlpack),
    ):
        source[0] = 0
        converted = convert(source)
        source[0] = 7
        print(f"{name}: {'shared' if converted[0] == 7 else 'copied'}")
    array = jnp.arange(8.0)
    view = np.asarray(array)
    kind = "shared" if np.shares_memory(view, np.asarray(array)) else "copied"
    print(f"np.asarray(jax): {kind}, {'writable' if view.flags.writeable else 'read-only'}")
    if importlib.util.find_spec("torch") is None:
        print("torch.from_dlpack(jax): PyTorch is not installed, not shown")
        return
    torch = importlib.import_module("torch")
    tensor = torch.from_dlpack(array)
    kind = "shared" if tensor.data_ptr() == view.ctypes.data else "copied"
    print(f"torch.from_dlpack(jax): {kind}; to write to it would change JAX's array")


def two_layers() -> None:
    """Print two linear layers that are one, and what an activation between them changes."""
    w1, b1 = jnp.array([[1.0, -2.0], [3.0, 1.0]]), jnp.array([1.0, -1.0])
    w2, b2 = jnp.array([[2.0, 1.0]]), jnp.array([0.5])
    print(f"W = W2 W1 = {(w2 @ w1).tolist()}, b = W2 b1 + b2 = {(w2 @ b1 + b2).tolist()}")
    for x in (jnp.array([1.0, 2.0]), jnp.array([-1.0, 1.0])):
        two = w2 @ (w1 @ x + b1) + b2
        one = w2 @ w1 @ x + (w2 @ b1 + b2)
        bent = w2 @ jax.nn.relu(w1 @ x + b1) + b2
        print(
            f"x = {x.tolist()}: W2 (W1 x + b1) + b2 = {two.item()}, W x + b = {one.item()}, "
            f"with relu between {bent.item()}"
        )


def main() -> int:
    """Print the lesson."""
    parser = cli.ArgumentParser(description="The notes' lesson on tensors and autograd, in JAX.")
    parser.add_argument(
        "--samples", type=cli.at_least(1), default=10_000, help="of rand and randn (10000)"
    )
    parser.add_argument(
        "--output", type=cli.output_file(".png", ".svg"), help="where to save the histogram"
    )
    options = parser.parse()
    generator = Generator(0)  # seeded as torch.manual_seed(0) does
    uniform, normal = generator.rand((options.samples,)), generator.randn((options.samples,))
    sections: tuple[tuple[str, Callable[[], None]], ...] = (
        ("Vector, matrix, tensor", tensors),
        ("The derivative of y = sum(x^2 + 4x + 1)", gradient),
        ("requires_grad, backward, zero_grad, detach, no_grad", tracking),
        ("The Jacobian, and products with it", jacobians),
        ("A function with its own backward", custom_function),
        ("rand and randn", lambda: histogram(uniform, normal)),
        ("NumPy, JAX and PyTorch: one memory or two", memory),
        ("Two linear layers without an activation are one", two_layers),
    )
    for number, (title, section) in enumerate(sections, 1):
        print(f"{'' if number == 1 else chr(10)}{number}. {title}")
        section()
    if options.output:
        save_histogram(options.output, uniform, normal)
        print(f"\nSaved {options.output}")
    return 0


if __name__ == "__main__":
    cli.run(main)
