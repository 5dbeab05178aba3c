"""conv2d against an installed PyTorch, over its whole space of arguments."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

Check = Callable[..., None]

KERNELS = [(1, 1), (3, 3), (2, 3), (4, 1)]
STRIDES = [1, 2, (2, 1), (1, 3)]
PADDINGS = [0, 1, (2, 1), (0, 3), "valid", "same"]
DILATIONS = [1, 2, (1, 2), (3, 1)]
GROUPS = [1, 2, 4]
BATCHES = [None, 0, 1, 3]

SPACE = [
    case
    for case in itertools.product(
        KERNELS, STRIDES, PADDINGS, DILATIONS, GROUPS, BATCHES, [True, False]
    )
    if case[1] == 1 or case[2] != "same"
]
CASES = random.Random(0).sample(SPACE, 160)


def arrays(kernel: tuple[int, int], groups: int, batch: int | None, bias: bool) -> dict[str, Any]:
    """Return an image or a batch of them, filters, and perhaps a bias."""
    rng = np.random.default_rng(0)
    shape = (4, 10, 8) if batch is None else (batch, 4, 10, 8)
    result = {
        "input": rng.standard_normal(shape),
        "weight": rng.standard_normal((8, 4 // groups, *kernel)),
    }
    if bias:
        result["bias"] = rng.standard_normal(8)
    return result


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups", "batch", "bias"), CASES
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conv2d(
    parity: Check,
    dtype: str,
    kernel: tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int] | str,
    dilation: int | tuple[int, int],
    groups: int,
    batch: int | None,
    bias: bool,
) -> None:
    """Any choice of arguments, forward and the gradients of image, filters and bias."""
    parity(
        "conv2d",
        arrays(kernel, groups, batch, bias),
        dtype=dtype,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_conv2d_in_half_precision(parity: Check, dtype: str, groups: int) -> None:
    """The half types, whose sums PyTorch keeps in float32."""
    parity("conv2d", arrays((3, 3), groups, 2, True), dtype=dtype, padding=1, groups=groups)
