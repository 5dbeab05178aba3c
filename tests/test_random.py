"""PyTorch's random numbers, against recorded ones and by their properties."""

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fgrad.random import Generator, _draws
from fgrad.random._draws import Floats

with np.load(Path(__file__).parent / "references" / "random.npz", allow_pickle=False) as _file:
    REFERENCES = dict(_file)

SIZES = st.integers(0, 40) | st.integers(600, 650) | st.sampled_from([2**12, 2**13, 2**13 + 17])
DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(-(2**63), 2**64 - 1)


@pytest.mark.parametrize("i", range(6))
def test_calls_in_any_order_equal_pytorch(i: int) -> None:
    """A program of every method, sizes and dtypes mixed, and the state it ends in."""
    seed, program = json.loads(str(REFERENCES[f"{i}.program"]))
    rng = Generator(seed)
    for j, (method, arguments) in enumerate(program):
        got, want = getattr(rng, method)(**arguments), REFERENCES[f"{i}.{j}"]
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        if method in ("randn", "normal") and want.size >= 16:
            # 3 ULP of the number before it is scaled, and one rounding after.
            mean, std = arguments.get("mean", 0.0), arguments.get("std", 1.0)
            standard = ((want - mean) / (std or 1.0)).astype(want.dtype)
            ulps = 3 * std * np.spacing(np.abs(standard)) + np.spacing(np.abs(want)) * (mean != 0)
            assert (np.abs(got - want) <= ulps).all(), (method, arguments)
        elif method in ("randn", "normal") and want.dtype == np.float64:
            # The C library's logarithm and cosine: the same to the last bit where it is the same.
            np.testing.assert_array_max_ulp(got, want, 1, np.float64)
        else:
            np.testing.assert_array_equal(got, want, err_msg=f"{method} {arguments}")
    np.testing.assert_array_equal(rng.get_state(), REFERENCES[f"{i}.state"])


def test_states_at_the_edges_are_pytorchs() -> None:
    """Before the first draw, and when the twister's words have just run out."""
    rng = Generator(3)
    np.testing.assert_array_equal(rng.get_state(), REFERENCES["fresh"])
    rng.rand((624,))
    np.testing.assert_array_equal(rng.get_state(), REFERENCES["used_up"])


@given(seed=SEEDS, before=SIZES, size=SIZES, dtype=DTYPES)
@settings(max_examples=50, deadline=None)
def test_a_call_is_its_parts_one_after_the_other(
    seed: int, before: int, size: int, dtype: type[np.floating[Any]]
) -> None:
    """Drawing in one call or in two is the same."""
    whole, parts = Generator(seed), Generator(seed)
    both = whole.rand((before + size,), dtype=dtype)
    pieces = [parts.rand((before,), dtype=dtype), parts.rand((size,), dtype=dtype)]
    np.testing.assert_array_equal(both, np.concatenate(pieces))
    np.testing.assert_array_equal(whole.get_state(), parts.get_state())


@given(seed=SEEDS, used=SIZES, normals=st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_restored_state_goes_on_as_the_first_did(seed: int, used: int, normals: int) -> None:
    """The state holds all, the waiting normal number too."""
    rng, other = Generator(seed), Generator(0)
    rng.rand((used,))
    rng.randn((normals,))
    other.randn((1,))
    other.set_state(rng.get_state())
    np.testing.assert_array_equal(other.get_state(), rng.get_state())
    np.testing.assert_array_equal(other.randn((3,)), rng.randn((3,)))
    np.testing.assert_array_equal(other.rand((700,)), rng.rand((700,)))


@given(seed=SEEDS, n=st.integers(0, 3000))
@settings(max_examples=100, deadline=None)
def test_randperm_is_the_walk_step_by_step(seed: int, n: int) -> None:
    """The array form equals the plain loop."""
    words = np.random.RandomState(seed % 2**32).randint(0, 2**32, max(n - 1, 0), dtype=np.uint32)
    walked = list(range(n))
    for i, word in enumerate(words.tolist()):
        j = i + word % (n - i)
        walked[i], walked[j] = walked[j], walked[i]
    assert Generator(seed).randperm(n).tolist() == walked


@example(unit=[1, 2**52 + 1, 2**53 - 1], width=3.3e-290, low=1e-300, shift=0)
@example(unit=[2**53 - 1], width=2e-310, low=-1e-310, shift=0)
@given(
    unit=st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=20),
    width=st.floats(1e-30, 1e30) | st.floats(0, 1e-300) | st.sampled_from([1.0, 3.0, 1 + 2**-52]),
    low=st.floats(-1e-300, 1e-300)
    | st.floats(-1e30, 1e30)
    | st.floats(-1e-20, 1e-20)
    | st.sampled_from([1.0, -3.0]),
    shift=st.integers(0, 50),
)
@settings(max_examples=300, deadline=None)
def test_float64_stretches_with_one_rounding(
    unit: list[int], width: float, low: float, shift: int
) -> None:
    """Against exact fractions."""
    numbers = np.array([(k >> shift) * 2.0 ** (shift - 53) for k in unit])
    high = low + width
    exact = [float(Fraction(u) * Fraction(high - low) + Fraction(low)) for u in numbers.tolist()]
    np.testing.assert_array_equal(
        _draws.stretch(numbers, low, high), [low if x == high else x for x in exact]
    )


@given(
    unit=st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=20),
    width=st.floats(2.0**-20, 2.0**20, width=32) | st.sampled_from([1.0, 3.0, 1 + 2**-23]),
    low=st.floats(-(2.0**20), 2.0**20, width=32) | st.floats(2.0**-80, 2.0**-40, width=32),
    shift=st.integers(0, 20),
)
@settings(max_examples=300, deadline=None)
def test_float32_stretches_with_one_rounding(
    unit: list[int], width: float, low: float, shift: int
) -> None:
    """Against exact fractions."""
    numbers = np.array([(k >> shift) * 2.0 ** (shift - 24) for k in unit], np.float32)
    high = float(np.float32(low) + np.float32(width))
    span = Fraction(float(np.float32(high) - np.float32(low)))
    got = _draws.stretch(numbers, low, high)
    for u, number in zip(numbers.tolist(), got, strict=True):
        exact = Fraction(u) * span + Fraction(low)
        if number == low and exact > high - abs(float(np.spacing(np.float32(high)))):
            continue  # it rounds to high, which the interval leaves out
        error = abs(Fraction(float(number)) - exact)
        for towards in (-math.inf, math.inf):
            neighbour = np.nextafter(number, np.float32(towards))
            distance = abs(Fraction(float(neighbour)) - exact)
            # At a tie the even one.
            assert error < distance or (error == distance and number.view(np.int32) % 2 == 0)


def test_one_case_where_two_roundings_are_wrong() -> None:
    """A sum that float64 rounds onto a tie of float32."""
    unit, low, high = np.array([0.5], np.float32), 2.0**-70, 2.0 + 2.0**-22
    # The exact sum, 1 + 2^-23 + 2^-70, is no tie; one bit of width less makes it one.
    assert _draws.stretch(unit, low, high)[0] == np.float32(1 + 2.0**-23)
    unit = np.array([2.0**-1 + 2.0**-24], np.float32)
    assert _draws.stretch(unit, low, 2.0)[0] == np.nextafter(np.float32(1.0), np.float32(2.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_leaves_out_the_upper_end(dtype: type[np.floating[Any]]) -> None:
    """What rounds up to it becomes the lower end."""
    low, high = 1.0, 1.0 + 2 * float(np.finfo(dtype).eps)
    got = Generator(0).uniform((1000,), low, high, dtype=dtype)
    assert set(got.tolist()) == {low, (low + high) / 2}
    assert 0.4 < (got == low).mean() < 0.6


@given(low=st.integers(-(2**63), 2**63 - 1), data=st.data())
@settings(max_examples=50, deadline=None)
def test_randint_stays_in_range(low: int, data: st.DataObject) -> None:
    """For ends anywhere in 64 bits."""
    high = data.draw(st.integers(low + 1, min(2**63, low + 2**64 - 1)))
    drawn = Generator(0).randint(low, high, (100,)).tolist()
    assert low <= min(drawn)
    assert max(drawn) < high


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_are_the_distributions(dtype: type[np.floating[Any]]) -> None:
    """Mean and deviation of a large sample."""
    n, rng = 200_000, Generator(3)
    for sample, mean, std in (
        (rng.uniform((n,), -1.0, 3.0, dtype=dtype), 1.0, 4 / math.sqrt(12)),
        (rng.normal((n,), 2.0, 0.5, dtype=dtype), 2.0, 0.5),
        (rng.bernoulli(0.3, (n,)), 0.3, math.sqrt(0.21)),
        (rng.bernoulli(np.full(n, 0.3, dtype)), 0.3, math.sqrt(0.21)),
        (rng.randint(0, 12, (n,)), 5.5, math.sqrt(143 / 12)),
    ):
        assert abs(sample.mean(dtype=np.float64) - mean) < 5 * std / math.sqrt(n)
        assert abs(sample.std(dtype=np.float64) - std) < 0.02 * std


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_drawn_that_is_its_probability_gives_a_zero(dtype: type) -> None:
    """Of numbers in [0, 1) a share of p is below p; at p itself PyTorch 2.13.0 gives 0, too."""
    drawn = Generator(0).rand((1000,), dtype=dtype)
    assert not Generator(0).bernoulli(drawn).any()
    one = Generator(0).rand((), dtype=np.float64).item()
    assert not Generator(0).bernoulli(one, ()).any()


def test_bernoulli_by_element_draws_in_its_own_dtype() -> None:
    """An array of probabilities is compared in its own dtype."""
    chances: Floats
    for dtype in (np.float32, np.float64):
        chances = np.array([[0.1], [0.8], [0.5]], dtype)
        got = Generator(7).bernoulli(chances)
        want = Generator(7).rand((3, 1), dtype=dtype) < chances
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, want)


def test_shapes_are_kept() -> None:
    """Scalars, empty ones and several axes."""
    rng = Generator(0)
    assert rng.rand(()).shape == ()
    assert rng.randn((2, 3, 4)).shape == (2, 3, 4)
    assert rng.randint(-3, 4, (0, 2)).shape == (0, 2)
    assert rng.bernoulli(0.5, (2, 2)).shape == (2, 2)
    assert rng.randperm(0).tolist() == []
    assert rng.randperm(1).tolist() == [0]


def test_an_int_is_the_shape_of_one_axis() -> None:
    """As PyTorch takes it."""
    for method, arguments in (
        ("rand", ()),
        ("randn", ()),
        ("uniform", (-1.0, 1.0)),
        ("normal", (1.0, 2.0)),
    ):
        got = getattr(Generator(0), method)(np.int64(3), *arguments)
        np.testing.assert_array_equal(got, getattr(Generator(0), method)((3,), *arguments))
    assert Generator(0).randint(0, 9, 3).shape == Generator(0).bernoulli(0.5, 3).shape == (3,)


def test_the_widest_normal_is_finite() -> None:
    """What float32 holds, with no warning, in few and in many."""
    for size in (3, 40_000):
        assert np.isfinite(Generator(0).normal((size,), 1e37, 3.6e37)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: Generator(2**64), r"seed: expected an integer from -2\*\*63 to 2\*\*64 - 1"),
        (lambda g: Generator(-(2**63) - 1), "seed: expected"),
        (lambda g: g.rand((2, -1)), r"shape: expected sizes of 0 or more, got \(2, -1\)"),
        (lambda g: g.rand((2,), dtype=np.float16), "dtype: expected float32 or float64, got f"),
        (lambda g: g.uniform((1,), 2.0, 1.0), r"low: expected at most high, 1\.0, got 2\.0"),
        (lambda g: g.uniform((1,), math.nan, 1.0), "low: expected a finite float32, got nan"),
        (lambda g: g.uniform((1,), -3e38, 3e38), r"high: expected high - low within float32"),
        (lambda g: g.uniform((1,), 0.0, 1e39), r"high: expected a finite float32, got 1e\+39"),
        (lambda g: g.normal((3,), math.inf), "mean: expected a finite float32, got inf"),
        (lambda g: g.normal((3,), math.nan), "mean: expected a finite float32, got nan"),
        (lambda g: g.normal((3,), 1e39), r"mean: expected a finite float32, got 1e\+39"),
        (lambda g: g.normal((3,), None), "mean: expected a finite float32, got None"),
        (lambda g: g.normal((3,), np.zeros(3)), r"mean: expected a scalar, got shape \(3,\)"),
        (lambda g: g.normal((3,), 0, math.inf), "std: expected a finite float32, got inf"),
        (lambda g: g.normal((16,), 0, math.inf), "std: expected a finite float32, got inf"),
        (lambda g: g.normal((3,), 0, 1e39), r"std: expected a finite float32, got 1e\+39"),
        (
            lambda g: g.normal((3,), 1, 1e38),
            r"std: expected mean \+ 9 std within float32, got 1\.0",
        ),
        (lambda g: g.normal((3,), 0, 1e308, dtype=np.float64), "std: expected mean .* float64"),
        (lambda g: g.rand(-1), r"shape: expected sizes of 0 or more, got \(-1,\)"),
        (lambda g: g.rand(2.5), r"shape: expected an integer or a tuple of them, got 2\.5"),
        (lambda g: Generator(1.0), r"seed: expected an integer, got 1\.0"),
        (lambda g: g.rand(True), r"shape: expected an integer or a tuple of them, got True"),
        (lambda g: g.rand((2, False)), r"shape: expected an integer or a tuple of them, got"),
        (lambda g: g.randint(0, 3.0, (1,)), r"high: expected an integer, got 3\.0"),
        (lambda g: g.randint("0", 3, (1,)), r"low: expected an integer, got '0'"),
        (lambda g: g.randperm(3.0), r"n: expected an integer, got 3\.0"),
        (lambda g: g.rand(("2",)), r"shape: expected an integer or a tuple of them, got \('2',\)"),
        (lambda g: g.normal((1,), 0.0, -1.0), r"std: expected 0 or more, got -1\.0"),
        (lambda g: g.randint(3, 3, (1,)), "low: expected .* got 3 and 3"),
        (lambda g: g.randint(0, 2**63 + 1, (1,)), "low: expected -2"),
        (lambda g: g.randint(-(2**63), 2**63, (1,)), "high: expected high - low up to"),
        (lambda g: g.randperm(-1), "n: expected 0 to 214748363, got -1"),
        (lambda g: g.randperm(214748364), "n: expected 0 to 214748363"),
        (lambda g: g.bernoulli(1.5, (1,)), "p: expected probabilities from 0 to 1, got"),
        (lambda g: g.bernoulli(np.array([0.5, math.nan])), "p: expected probabilities"),
        (lambda g: g.bernoulli(np.ones(2), (2,)), "p: expected a scalar with a shape"),
        (lambda g: g.bernoulli(np.ones(2, np.int64)), "dtype: expected float32 or float64"),
        (lambda g: g.set_state(np.zeros(5, np.uint8)), "state: expected 5056 bytes as uint8"),
        (lambda g: g.set_state(np.zeros(5056, np.int64)), "state: expected 5056 bytes as uint8"),
        (lambda g: g.set_state(np.zeros(5056, np.uint8)), "state: expected the bytes of a gen"),
    ],
)
def test_refusals_change_nothing(call: Callable[[Generator], object], message: str) -> None:
    """A refused call names the argument and leaves the generator as it was."""
    rng = Generator(5)
    before = rng.get_state()
    with pytest.raises(ValueError, match=message):
        call(rng)
    np.testing.assert_array_equal(rng.get_state(), before)
