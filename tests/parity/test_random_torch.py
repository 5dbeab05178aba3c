"""fgrad's random numbers beside an installed PyTorch's, call for call."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgrad.random import Generator

torch = pytest.importorskip("torch")

SIZES = [0, 1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 100, 623, 624, 625, 2**12 + 1, 2**13 - 1, 40_000]
WIDTHS = [1, 5, 2**24, 2**28 - 1, 2**28, 2**28 + 9, 2**32, 2**40 + 1, 2**63 - 100]
DTYPES = {np.float32: torch.float32, np.float64: torch.float64}
# By name, the same call of fgrad and of PyTorch.
METHODS: dict[str, tuple[Callable[..., np.ndarray[Any, Any]], Callable[..., Any]]] = {
    "rand": (
        lambda rng, size, dtype, width, a, b: rng.rand((size,), dtype=dtype),
        lambda rng, empty, width, a, b: torch.rand(len(empty), dtype=empty.dtype, generator=rng),
    ),
    "uniform": (
        lambda rng, size, dtype, width, a, b: rng.uniform((size,), a, a + b, dtype=dtype),
        lambda rng, empty, width, a, b: empty.uniform_(a, a + b, generator=rng),
    ),
    "randn": (
        lambda rng, size, dtype, width, a, b: rng.randn((size,), dtype=dtype),
        lambda rng, empty, width, a, b: torch.randn(len(empty), dtype=empty.dtype, generator=rng),
    ),
    "normal": (
        lambda rng, size, dtype, width, a, b: rng.normal((size,), a, b, dtype=dtype),
        lambda rng, empty, width, a, b: empty.normal_(a, b, generator=rng),
    ),
    "randint": (
        lambda rng, size, dtype, width, a, b: rng.randint(-99, width - 99, (size,)),
        lambda rng, empty, width, a, b: torch.randint(
            -99, width - 99, (len(empty),), generator=rng
        ),
    ),
    "randperm": (
        lambda rng, size, dtype, width, a, b: rng.randperm(size),
        lambda rng, empty, width, a, b: torch.randperm(len(empty), generator=rng),
    ),
    "bernoulli, an array": (
        lambda rng, size, dtype, width, a, b: rng.bernoulli(np.linspace(0, 1, size, dtype=dtype)),
        lambda rng, empty, width, a, b: torch.bernoulli(
            torch.from_numpy(np.linspace(0, 1, len(empty), dtype=empty.numpy().dtype)),
            generator=rng,
        ),
    ),
    "bernoulli, a scalar": (
        lambda rng, size, dtype, width, a, b: rng.bernoulli(b / 1e6, (size,)),
        lambda rng, empty, width, a, b: torch.empty(len(empty)).bernoulli_(b / 1e6, generator=rng),
    ),
}
CALL = st.tuples(
    st.sampled_from(list(METHODS)),
    st.sampled_from(SIZES),
    st.sampled_from(list(DTYPES)),
    st.sampled_from(WIDTHS),
    st.floats(-1e6, 1e6) | st.floats(-1e-9, 1e-9),
    st.floats(0, 1e6) | st.floats(0, 1e-9),
)


@given(seed=st.integers(-(2**63), 2**64 - 1), calls=st.lists(CALL, min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_calls_from_any_seed(
    seed: int, calls: list[tuple[str, int, type[np.float32 | np.float64], int, float, float]]
) -> None:
    """The same numbers, dtypes and states, whatever came before."""
    ours, theirs = Generator(seed), torch.Generator().manual_seed(seed)
    np.testing.assert_array_equal(ours.get_state(), theirs.get_state().numpy())
    for method, size, dtype, width, a, b in calls:
        our_call, their_call = METHODS[method]
        got = our_call(ours, size, dtype, width, a, b)
        tensor = their_call(theirs, torch.empty(size, dtype=DTYPES[dtype]), width, a, b)
        want = tensor.numpy()
        assert got.dtype == want.dtype
        if method == "randn" and size >= 16:
            np.testing.assert_array_max_ulp(got, want, 3, dtype)
        elif method == "normal" and size >= 16:
            # 3 ULP of numbers below 8 before they are scaled, and a rounding each way after.
            near = 3 * np.spacing(dtype(8)) * b + 2 * np.spacing(dtype(abs(a) + 8 * b))
            np.testing.assert_allclose(got, want, rtol=0, atol=near)
        else:
            np.testing.assert_array_equal(got, want, err_msg=method)
        np.testing.assert_array_equal(ours.get_state(), theirs.get_state().numpy())


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("ends", [(2.0, 4), (-2.0, 1), (0.1, 3), (-1e-3, 10), (1.0, 0)])
def test_intervals_of_a_few_numbers(
    dtype: type[np.float32 | np.float64], ends: tuple[float, int]
) -> None:
    """Where the upper end, which is left out, comes up often."""
    low = float(dtype(ends[0]))
    high = float(low + ends[1] * np.spacing(dtype(low)))
    theirs = torch.Generator().manual_seed(0)
    want = torch.empty(5000, dtype=DTYPES[dtype]).uniform_(low, max(low, high), generator=theirs)
    got = Generator(0).uniform((5000,), low, max(low, high), dtype=dtype)
    np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_millions_of_normals_within_3_ulp(dtype: type[np.float32 | np.float64]) -> None:
    """The table's own promise, over enough numbers to meet the rare cases."""
    got = Generator(11).randn((4_000_001,), dtype=dtype)
    generator = torch.Generator().manual_seed(11)
    want = torch.randn(4_000_001, dtype=DTYPES[dtype], generator=generator).numpy()
    np.testing.assert_array_max_ulp(got, want, 3, dtype)


@pytest.mark.parametrize("n", [60_000, 1_000_003])
def test_large_permutations(n: int) -> None:
    """As large as a data set."""
    theirs = torch.randperm(n, generator=torch.Generator().manual_seed(4)).numpy()
    np.testing.assert_array_equal(Generator(4).randperm(n), theirs)


@given(seed=st.integers(0, 2**64 - 1), used=st.integers(0, 1300), normals=st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_states_go_both_ways(seed: int, used: int, normals: int) -> None:
    """PyTorch goes on from fgrad's bytes, and fgrad from PyTorch's."""
    ours, theirs = Generator(seed), torch.Generator().manual_seed(seed)
    ours.rand((used,))
    ours.randn((normals,))
    theirs.set_state(torch.from_numpy(ours.get_state()))
    want = torch.randn(3, generator=theirs).numpy()
    np.testing.assert_array_equal(ours.randn((3,)), want)
    torch.rand(used, generator=theirs)
    ours = Generator(0)
    ours.set_state(theirs.get_state())
    np.testing.assert_array_equal(ours.randn((3,)), torch.randn(3, generator=theirs).numpy())


def test_random_of_an_int64_is_randint_to_two_to_the_63() -> None:
    """What a DataLoader seeds its shuffle with."""
    theirs = torch.Generator().manual_seed(0)
    want = torch.empty(5, dtype=torch.int64).random_(generator=theirs).numpy()
    np.testing.assert_array_equal(Generator(0).randint(0, 2**63, (5,)), want)
