"""PyTorch's rounding, against exact arithmetic and against what PyTorch recorded."""

import functools
import json
import math
import platform
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fgrad import strict
from fgrad.random import Generator

REFERENCES = Path(__file__).parent / "references"
RECORDS = {
    kind: json.loads((REFERENCES / f"linear_module_{kind}.json").read_text())
    for kind in strict.PROCESSORS
}

# Far from overflow, and from the subnormal numbers that XLA flushes to zero.
numbers = st.floats(-1e9, 1e9, width=32).filter(lambda value: value == 0 or abs(value) > 1e-9)


def nearest_float32(exact: Fraction) -> np.float32:
    """Round a rational to float32, ties to even, by looking at the candidates around it."""
    near = np.float32(float(exact))
    candidates = [
        np.nextafter(near, np.float32(-np.inf)),
        near,
        np.nextafter(near, np.float32(np.inf)),
    ]

    def distance(value: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(value)) - exact), int(value.view(np.int32)) & 1

    return min(candidates, key=distance)


@given(a=numbers, b=numbers, c=numbers)
def test_fused_multiply_add_rounds_once(a: float, b: float, c: float) -> None:
    expected = nearest_float32(Fraction(a) * Fraction(b) + Fraction(c))
    assume(expected == 0 or abs(expected) > 1e-30)
    with jax.enable_x64(True):
        assert strict.fused_multiply_add(*np.float32([a, b, c])) == expected


@given(base=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2))
def test_power_is_python_s(base: list[float]) -> None:
    assume(all(value == 0 or abs(value) > 1e-100 for value in base))
    with jax.enable_x64(True):
        compiled = jax.jit(lambda x: strict.power(x, 2.0), compiler_options=strict.COMPILER_OPTIONS)
        assert compiled(np.array(base)).tolist() == [value**2 for value in base]


def test_power_s_derivatives_of_a_negative_base() -> None:
    def square(base: jax.Array) -> jax.Array:
        return strict.power(base, 2.0)

    base = jnp.float32(-0.5)
    assert jax.jvp(square, (base,), (jnp.ones_like(base),)) == (0.25, -1)
    assert (jax.grad(square)(base), jax.hessian(square)(base)) == (-1, 2)
    assert jax.grad(jax.grad(lambda base: strict.power(base, 3.0)))(base) == -3


def test_power_differs_from_a_product_where_python_s_does() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    expected = [value**2 for value in values.tolist()]
    assert (values * values != expected).any(), "the test needs values where the two differ"
    with jax.enable_x64(True):
        np.testing.assert_array_equal(strict.power(values, 2.0), expected)


@given(values=st.lists(st.floats(-1e30, 1e30), min_size=6, max_size=8))
def test_sum_in_order_is_python_s(values: list[float]) -> None:
    total = 0.0
    for value in values:
        total += value
    with jax.enable_x64(True):
        assert strict.sum_in_order(np.array(values)) == total


@pytest.mark.parametrize(
    "record", RECORDS["intel"]["sums"], ids=lambda record: f"n={record['length']}"
)
def test_sum_as_pytorch_recorded(record: dict[str, float]) -> None:
    assert record in RECORDS["amd"]["sums"]
    values = (np.arange(record["length"]) * 7919 % 1000).astype(np.float32) / np.float32(1000)
    assert strict.sum_as_pytorch(values).item() == record["sum"]


def test_a_sum_of_millions_stays_at_four_levels() -> None:
    """Where four levels of 16 are full the last runs on; a fifth would round otherwise."""
    record = RECORDS["intel"]["long sum"]
    assert record == RECORDS["amd"]["long sum"]
    values = Generator(record["seed"]).rand((record["length"],))
    assert strict.sum_as_pytorch(values).item() == record["sum"]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 37, 600, 2100])
@given(data=st.data())
def test_sum_as_pytorch_counts_every_number_once(length: int, data: st.DataObject) -> None:
    values = np.random.default_rng(data.draw(st.integers(0))).integers(-1000, 1000, length)
    assert float(jax.jit(strict.sum_as_pytorch)(values.astype(np.float32))) == values.sum()


def test_sum_as_pytorch_gradient_is_one_everywhere() -> None:
    np.testing.assert_array_equal(jax.grad(strict.sum_as_pytorch)(jnp.arange(45.0)), np.ones(45))


@pytest.mark.parametrize("processor", strict.PROCESSORS)
def test_linear_and_its_gradients(processor: str) -> None:
    x = np.float32([[1.5], [-0.25], [3.0]])
    weight, bias = np.float32([[0.5]]), np.float32([-2.0])
    cotangent = np.float32([[1.0], [2.0], [-1.0]])
    with jax.enable_x64(True):
        linear = functools.partial(strict.linear, processor=processor)
        y, pullback = jax.vjp(linear, x, weight, bias)
        grads = pullback(cotangent)
    np.testing.assert_array_equal(y, x * 0.5 - 2)
    np.testing.assert_array_equal(grads[0], cotangent * 0.5)
    np.testing.assert_array_equal(grads[1], [[1.5 - 0.5 - 3.0]])
    np.testing.assert_array_equal(grads[2], [2.0])


@pytest.mark.parametrize(
    ("processor", "expected"), [("intel", 0.7999999523162842), ("amd", 0.800000011920929)]
)
def test_linear_s_weight_gradient_is_the_processor_s(processor: str, expected: float) -> None:
    """What PyTorch 2.13.0 computed on one of each kind."""
    x, cotangent = np.float32([[0.1], [0.3], [0.7]]), np.float32([[0.2], [0.5], [0.9]])

    def weight_grad(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        weight, bias = jnp.ones((1, 1), jnp.float32), jnp.zeros(1, jnp.float32)
        linear = functools.partial(strict.linear, processor=processor)
        return jax.vjp(linear, x, weight, bias)[1](cotangent)[1]

    with jax.enable_x64(True):
        assert weight_grad(x, cotangent).item() == expected
        for options in (None, strict.COMPILER_OPTIONS):
            compiled = jax.jit(weight_grad, compiler_options=options)
            assert compiled(x, cotangent).item() == expected


def test_linear_refuses_an_unknown_processor() -> None:
    x, weight, bias = np.float32([[1]]), np.float32([[1]]), np.float32([1])
    with pytest.raises(ValueError, match=r"^processor: expected intel or amd, got 'arm'$"):
        strict.linear(x, weight, bias, processor="arm")


@pytest.mark.parametrize(
    ("cpuinfo", "platform_says", "expected"),
    [
        ("processor\t: 0\nvendor_id\t: GenuineIntel\n", "", "intel"),
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\n", "", "amd"),
        (None, "Intel64 Family 6 Model 151 Stepping 2, GenuineIntel", "intel"),
        (None, "AMD64 Family 25 Model 33 Stepping 2, AuthenticAMD", "amd"),
    ],
)
def test_processor_is_told_by_its_vendor(
    cpuinfo: str | None, platform_says: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_text(path: Path) -> str:
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: platform_says)
    assert strict.processor() == expected


def test_sgd_rounds_once() -> None:
    params = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    grads = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    optimizer = strict.sgd(0.01)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(grads, optimizer.init(params))
        updated = np.asarray(optax.apply_updates(params, updates))
    rate = Fraction(float(np.float32(-0.01)))
    exact = [
        nearest_float32(Fraction(float(p)) + rate * Fraction(float(g)))
        for p, g in zip(params, grads, strict=True)
    ]
    assert updated.dtype == np.float32
    np.testing.assert_array_equal(updated, exact)
    assert (updated != params - np.float32(0.01) * grads).any(), "two roundings differ somewhere"


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (0, "lr: expected above 0, got 0"),
        (-1, "lr: expected above 0, got -1"),
        (1e-50, "lr: expected above 0, got 1e-50"),
        (float("nan"), "lr: expected a finite float32, got nan"),
        (float("inf"), "lr: expected a finite float32, got inf"),
        (1e39, r"lr: expected a finite float32, got 1e\+39"),
        (None, "lr: expected a finite float32, got None"),
        (math.sin, "lr: expected a finite float32, got <built-in function sin>"),
    ],
    ids=str,
)
def test_sgd_refuses_rates_that_are_not_above_0(lr: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        strict.sgd(lr=lr)


def test_needs_x64() -> None:
    with pytest.raises(ValueError, match=r"^jax_enable_x64: expected True.* got False$"):
        strict.fused_multiply_add(*np.float32([1, 2, 3]))


def test_rounds_after_every_operation() -> None:
    """Products and sums that a fused multiply-add would round otherwise, in a loop."""
    a, b, c = np.random.default_rng(2).normal(size=(3, 1000)).astype(np.float32)

    def body(carry: None, row: tuple[jax.Array, ...]) -> tuple[None, jax.Array]:
        a, b, c = row
        return carry, a * b + c

    compiled = jax.jit(
        lambda rows: jax.lax.scan(body, None, rows)[1], compiler_options=strict.COMPILER_OPTIONS
    )
    expected = a * b + c
    np.testing.assert_array_equal(compiled((a, b, c)), expected)
    fused = [
        nearest_float32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    assert (expected != fused).any(), "the test needs values where the two differ"


def test_no_product_shares_a_loop_with_its_sum() -> None:
    """XLA ignores a pass that it does not know: if "fusion" were none, nothing would be said.

    On some processors the digits would not tell either, as LLVM's level 0 alone suffices there.
    """

    def shared(options: dict[str, str | int] | None) -> list[str]:
        """Return the loops that hold both."""
        compiled = jax.jit(lambda a, b, c: a * b + c, compiler_options=options)
        program = compiled.lower(*np.ones((3, 8), np.float32)).compile().as_text()
        assert "multiply(" in program
        assert "add(" in program
        loops = [part for part in program.split("\n}") if "\nENTRY" not in part]
        return [loop for loop in loops if "multiply(" in loop and "add(" in loop]

    assert shared(None), "the test needs a product and a sum that XLA fuses"
    assert not shared(strict.COMPILER_OPTIONS)


def test_factors_are_multiplied_one_after_the_other() -> None:
    """By XLA's algebraic simplifier, where it regroups them, they are 0.03 at once."""
    values = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    one, other = np.float32([0.1, 0.3])
    compiled = jax.jit(lambda x: x * one * other, compiler_options=strict.COMPILER_OPTIONS)
    expected = values * one * other
    np.testing.assert_array_equal(compiled(values), expected)
    assert (expected != values * (one * other)).any(), "the test needs values where the two differ"
