"""Pooling against an installed PyTorch, over its whole space of arguments."""

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

Check = Callable[..., None]

NAN, INF = float("nan"), float("inf")


def space(**choices: list[Any]) -> list[dict[str, Any]]:
    """Return every combination of the arguments whose padding is at most half the window."""
    cases = (dict(zip(choices, case, strict=True)) for case in itertools.product(*choices.values()))

    def both(value: int | tuple[int, int]) -> tuple[int, int]:
        return value if isinstance(value, tuple) else (value, value)

    return [
        case
        for case in cases
        if all(
            pad <= size // 2
            for pad, size in zip(both(case["padding"]), both(case["kernel_size"]), strict=True)
        )
    ]


WINDOWS: dict[str, list[Any]] = {
    "kernel_size": [1, 2, 3, (2, 3), (4, 1), (3, 5)],
    "stride": [None, 1, 2, 3, (3, 2), (1, 7)],
    "padding": [0, 1, (1, 0), (1, 2), (2, 0)],
    "ceil_mode": [False, True],
}
MAX_CASES = random.Random(0).sample(
    space(**WINDOWS, dilation=[1, 2, (1, 2), (2, 1)], return_indices=[False, True]), 120
)
AVG_CASES = random.Random(0).sample(
    space(**WINDOWS, count_include_pad=[True, False], divisor_override=[None, 1, 5, -3]), 120
)
SHAPES = [(2, 3, 9, 11), (3, 9, 11), (0, 3, 9, 11), (1, 1, 10, 9)]
DTYPES = ["float64", "float32", "bfloat16", "float16"]


def images(kind: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return images of distinct numbers, of many ties, or of infinities and NaN."""
    rng = np.random.default_rng(len(shape))
    if kind == "distinct":
        return rng.permutation(np.prod(shape)).reshape(shape) / 128
    if kind == "ties":
        return rng.integers(-1, 2, shape).astype(np.float64)
    if kind == "low":
        return np.full(shape, -INF)
    return rng.choice([-INF, INF, NAN, 0.0, 1.0], shape)


@pytest.mark.parametrize("options", MAX_CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_max_pool2d(parity: Check, dtype: str, options: Mapping[str, Any]) -> None:
    """Any choice of arguments, on numbers with many ties."""
    parity("max_pool2d", {"input": images("ties", (2, 9, 11))}, dtype=dtype, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["distinct", "ties", "low", "extreme"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool2d_at_its_kinks(
    parity: Check, dtype: str, kind: str, shape: tuple[int, ...]
) -> None:
    """First maximum, last NaN, windows of minus infinity next to the padding, empty batches."""
    for options in (
        {"kernel_size": 2, "return_indices": True},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "return_indices": True},
        {"kernel_size": (2, 3), "stride": 1, "padding": (1, 1), "dilation": (1, 2)},
    ):
        parity("max_pool2d", {"input": images(kind, shape)}, dtype=dtype, **options)


def test_max_pool2d_of_windows_between_the_pixels(parity: Check) -> None:
    """A dilated window may see nothing but padding: its maximum is minus infinity."""
    parity(
        "max_pool2d",
        {"input": np.ones((1, 2, 2))},
        constants=["input"],  # PyTorch's gradient would go outside the image
        kernel_size=2,
        stride=1,
        padding=1,
        dilation=3,
    )


@pytest.mark.parametrize("options", AVG_CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_avg_pool2d(parity: Check, dtype: str, options: Mapping[str, Any]) -> None:
    """Any choice of arguments."""
    rng = np.random.default_rng(0)
    parity("avg_pool2d", {"input": rng.standard_normal((2, 9, 11))}, dtype=dtype, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["distinct", "extreme"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_avg_pool2d_of_any_shape(
    parity: Check, dtype: str, kind: str, shape: tuple[int, ...]
) -> None:
    """Unbatched, empty and extreme images; the means of the half types are float32's, rounded."""
    for options in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": (2, 3), "stride": 1, "padding": (0, 1), "count_include_pad": False},
    ):
        parity("avg_pool2d", {"input": images(kind, shape)}, dtype=dtype, **options)


@pytest.mark.parametrize(
    "output_size",
    [1, 2, 4, 12, 0, (1, 5), (9, 11), (20, 3), (None, 2), (3, None), (None, None), (0, 2)],
    ids=str,
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_adaptive_avg_pool2d(
    parity: Check, dtype: str, shape: tuple[int, ...], output_size: int | tuple[int | None, ...]
) -> None:
    """Fewer windows than rows, more of them, and as many."""
    rng = np.random.default_rng(0)
    none = 0 in np.atleast_1d(np.asarray(output_size, object))
    parity(
        "adaptive_avg_pool2d",
        {"input": rng.standard_normal(shape)},
        dtype=dtype,
        constants=["input"] if none else [],  # PyTorch has no gradient of no windows
        output_size=output_size,
    )


@pytest.mark.parametrize("kind", ["distinct", "extreme"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_adaptive_avg_pool2d_of_any_number(parity: Check, dtype: str, kind: str) -> None:
    """An infinity stays in the windows that see it."""
    parity("adaptive_avg_pool2d", {"input": images(kind, (2, 9, 11))}, dtype=dtype, output_size=4)
