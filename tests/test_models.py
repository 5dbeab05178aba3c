"""The notes' models, and their optimum in closed form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgrad.least_squares import least_squares
from fgrad.models import linear, quadratic
from fgrad.random import Generator

WEIGHT, BIAS = np.float32([[2.0]]), np.float32([-1.0])
numbers = st.floats(-100, 100, width=32)


def assert_same(actual: jax.Array, expected: np.ndarray) -> None:
    """Compare bit for bit, but for the subnormal numbers that XLA flushes to zero."""
    tiny = float(np.finfo(np.float32).tiny)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=3 * tiny)


@given(x=st.lists(numbers, min_size=1, max_size=3), weight=numbers, bias=numbers)
def test_linear(x: list[float], weight: float, bias: float) -> None:
    column = np.array(x, np.float32)[:, None]
    params = {"weight": np.full((1, 1), weight, np.float32)}
    assert_same(linear.apply(params, column), column * np.float32(weight))
    params["bias"] = np.full(1, bias, np.float32)
    expected = column * np.float32(weight) + np.float32(bias)
    assert_same(linear.apply(params, column), expected)


@given(x=st.lists(numbers, max_size=3), w1=numbers, w2=numbers, b=numbers)
def test_quadratic(x: list[float], w1: float, w2: float, b: float) -> None:
    values = np.array(x, np.float32)
    w1, w2, b = np.float32([w1, w2, b])
    expected = w1 * (values * values) + w2 * values + b
    params = {"w1": w1, "w2": w2, "b": b}
    assert_same(quadratic.apply(params, values), expected)


def test_quadratic_squares_in_double_precision() -> None:
    params = dict(zip(("w1", "w2", "b"), np.float32([1, 0, 0]), strict=True))
    with jax.enable_x64(True):
        values = np.random.default_rng(0).normal(size=1000)
        np.testing.assert_array_equal(quadratic.apply(params, values), np.float32(values * values))
        assert (np.float32(values) * np.float32(values) != np.float32(values * values)).any()


def test_init_from_a_generator_is_pytorch_s() -> None:
    # torch.manual_seed(0); torch.nn.Linear(1, 1)
    params = linear.init(Generator(0))
    assert params["weight"].item() == -0.007486820220947266
    assert params["bias"].item() == 0.5364435911178589
    assert set(linear.init(Generator(0), bias=False)) == {"weight"}


@pytest.mark.parametrize(
    ("init", "bound"), [(linear.init, 1.0), (quadratic.init, 0.5**0.5)], ids=["linear", "quadratic"]
)
def test_init_from_a_key_has_pytorch_s_distribution(
    init: Callable[[jax.Array], dict[str, jax.Array]], bound: float
) -> None:
    params = jax.vmap(init)(jax.random.split(jax.random.key(0), 4000))
    for name, values in params.items():
        values = np.ravel(values) / bound
        assert values.min() < -0.99, name
        assert values.max() > 0.99, name
        np.testing.assert_allclose(values.mean(), 0.0, atol=0.05)
        np.testing.assert_allclose(values.var(), 1 / 3, rtol=0.05)
    first, *others = (np.ravel(values) for values in params.values())
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.06


@pytest.mark.parametrize(
    ("params", "x", "message"),
    [
        ({"weight": WEIGHT}, np.ones(3), r"^x: expected shape \(\.\.\., 1\), got \(3,\)$"),
        ({"weight": WEIGHT}, np.ones((1, 3)), r"^x: expected shape \(\.\.\., 1\), got \(1, 3\)$"),
        (
            {"weight": np.ones(1)},
            np.ones((3, 1)),
            r"^params\['weight'\]: expected shape \(1, 1\), got \(1,\)$",
        ),
        (
            {"weight": WEIGHT, "bias": WEIGHT},
            np.ones((3, 1)),
            r"^params\['bias'\]: expected shape \(1,\), got \(1, 1\)$",
        ),
    ],
)
def test_linear_refuses_other_shapes(
    params: dict[str, np.ndarray], x: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        linear.apply(params, x.astype(np.float32))


def test_quadratic_refuses_other_shapes() -> None:
    one = np.float32(1)
    with pytest.raises(ValueError, match=r"^params\['w2'\]: expected a scalar, got shape \(3,\)$"):
        quadratic.apply({"w1": one, "w2": np.ones(3, np.float32), "b": one}, one)


def test_least_squares_is_polyfit_s() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    with jax.enable_x64(True):
        one = jnp.asarray(1.0)
        parabola = least_squares(quadratic.apply, {"w1": one, "w2": one, "b": one}, x, y)
        line = least_squares(
            linear.apply, {"weight": jnp.ones((1, 1)), "bias": jnp.ones(1)}, x[:, None], y[:, None]
        )
    found = [parabola[name] for name in ("w1", "w2", "b")]
    np.testing.assert_allclose(found, np.polyfit(x, y, 2), rtol=1e-10)
    found = [line["weight"].item(), line["bias"].item()]
    np.testing.assert_allclose(found, np.polyfit(x, y, 1), rtol=1e-10)


def test_least_squares_through_the_origin() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 1)).astype(np.float32)
    best = jax.jit(least_squares, static_argnums=0)(
        linear.apply, {"weight": jnp.ones((1, 1))}, x, y
    )
    np.testing.assert_allclose(best["weight"].item(), (x * y).sum() / (x * x).sum(), rtol=1e-5)


def test_least_squares_leaves_what_no_parameter_reaches() -> None:
    """A model that is 5 where its parameters are 0 has only the rest to explain."""
    x = jnp.array([1.0, 2.0, 3.0])
    best = least_squares(lambda params, x: params["w"] * x + 5, {"w": jnp.ones(())}, x, 2 * x + 5)
    assert best["w"] == pytest.approx(2, rel=1e-5)


def test_least_squares_refuses_targets_of_another_shape() -> None:
    x = jnp.ones((3, 1))
    with pytest.raises(ValueError, match=r"^y: expected shape \(3, 1\), got \(3,\)$"):
        least_squares(linear.apply, {"weight": jnp.ones((1, 1))}, x, jnp.ones(3))
