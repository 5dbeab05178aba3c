"""Convolutions against an installed PyTorch, over their whole space of arguments."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from fgrad.functional import _cpu, convolution

torch = pytest.importorskip("torch")

Check = Callable[..., None]

KERNELS = [(1, 1), (3, 3), (2, 3), (4, 1)]
STRIDES = [1, 2, (2, 1), (1, 3)]
PADDINGS = [0, 1, (2, 1), (0, 3), "valid", "same"]
DILATIONS = [1, 2, (1, 2), (3, 1)]
GROUPS = [1, 2, 4]
BATCHES = [None, 0, 1, 3]
POOLS = [1, 2, (2, 1), (3, 2)]

SPACE = [
    case
    for case in itertools.product(
        KERNELS, STRIDES, PADDINGS, DILATIONS, GROUPS, BATCHES, [True, False]
    )
    if case[1] == 1 or case[2] != "same"
]
CASES = random.Random(0).sample(SPACE, 160)
POOLED = [
    (*case, pool)
    for case, pool in zip(
        random.Random(1).sample([case for case in SPACE if case[3] == 1], 24),
        itertools.cycle(POOLS),
    )
]

Draw = Callable[[tuple[int, ...]], npt.NDArray[np.float64]]


def normal(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return numbers of which no two are equal."""
    return np.random.default_rng(len(shape)).standard_normal(shape)


def ties(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return numbers of which many are equal, and so are many sums of their products."""
    return np.random.default_rng(len(shape)).integers(-1, 2, shape).astype(np.float64)


def arrays(
    kernel: tuple[int, int], groups: int, batch: int | None, bias: bool, draw: Draw = normal
) -> dict[str, Any]:
    """Return an image or a batch of them, filters, and perhaps a bias."""
    shape = (4, 10, 8) if batch is None else (batch, 4, 10, 8)
    result = {"input": draw(shape), "weight": draw((8, 4 // groups, *kernel))}
    if bias:
        result["bias"] = draw((8,))
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


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups", "batch", "bias", "pool_size"), POOLED
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conv2d_relu_max_pool2d(
    parity: Check,
    dtype: str,
    kernel: tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int] | str,
    dilation: int,
    groups: int,
    batch: int | None,
    bias: bool,
    pool_size: int | tuple[int, int],
) -> None:
    """The same with relu and pooling, on numbers with many ties and zeros."""
    parity(
        "conv2d_relu_max_pool2d",
        arrays(kernel, groups, batch, bias, ties),
        dtype=dtype,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        pool_size=pool_size,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_relu_max_pool2d_of_any_type(parity: Check, groups: int, dtype: str) -> None:
    """Distinct numbers, dilated, and channels that relu leaves nothing of."""
    values = arrays((3, 2), groups, 2, True)
    parity("conv2d_relu_max_pool2d", values, dtype=dtype, groups=groups, pool_size=2)
    values["bias"][:2] = -np.inf, -1e3
    parity(
        "conv2d_relu_max_pool2d", values, dtype=dtype, groups=groups, dilation=groups, pool_size=3
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_many_channels(parity: Check, dtype: str) -> None:
    """What a CPU convolves by fewer multiplications; outputs and gradients are of order one."""
    values = {
        "input": normal((32, 48, 4, 4)) / 8,
        "weight": normal((40, 48, 3, 3)) / (9 * 48) ** 0.5,
        "bias": normal((40,)),
    }
    parity("conv2d", values, dtype=dtype, padding=1)
    parity("conv2d_relu_max_pool2d", values, dtype=dtype, padding=1, pool_size=2)
    # Many ties and zeros, and no rounding.
    whole = {name: ties(array.shape) for name, array in values.items()}
    for pool_size in ((1, 2), (4, 2)):
        parity("conv2d_relu_max_pool2d", whole, dtype=dtype, padding="same", pool_size=pool_size)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile for a CPU what other platforms run."""
    compiled = convolution._convolution, convolution._pooled_convolution
    monkeypatch.setattr(_cpu, "is_faster", lambda images, weight, sliding: False)
    monkeypatch.setattr(_cpu, "is_faster_pooled", lambda images, sliding: False)
    for function in compiled:
        function.clear_cache()
    yield
    for function in compiled:
        function.clear_cache()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_platforms(parity: Check, dtype: str) -> None:
    """What other platforms than a CPU run holds to the same."""
    names = ("kernel", "stride", "padding", "dilation", "groups", "batch", "bias", "pool_size")
    for case in [*CASES[::20], *POOLED[::3]]:
        options = dict(zip(names, case, strict=False))
        shapes = [options.pop(name) for name in ("kernel", "groups", "batch", "bias")]
        pooled = "pool_size" in options
        parity(
            "conv2d_relu_max_pool2d" if pooled else "conv2d",
            arrays(*shapes, ties if pooled else normal),
            dtype=dtype,
            groups=shapes[1],
            **options,
        )


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_conv2d_in_half_precision(
    dtype: str, groups: int, record_property: Callable[[str, object], None]
) -> None:
    """As PyTorch in float64 on the same numbers: its float16 sums in float16 on some processors."""
    halves = {
        name: jnp.asarray(value, dtype) for name, value in arrays((3, 3), groups, 2, True).items()
    }
    output, pullback = jax.vjp(
        lambda halves: convolution.conv2d(**halves, padding=1, groups=groups), halves
    )
    cotangent = jnp.asarray(normal(output.shape), dtype)
    (grads,) = pullback(cotangent)

    exact = {
        name: torch.tensor(np.asarray(value, np.float64), requires_grad=True)
        for name, value in halves.items()
    }
    wanted = torch.nn.functional.conv2d(**exact, padding=1, groups=groups)
    wanted.backward(torch.tensor(np.asarray(cotangent, np.float64)))
    units = 2 * float(jnp.finfo(dtype).eps)
    for got, expected in [
        (output, wanted.detach()),
        *((grads[name], exact[name].grad) for name in halves),
    ]:
        assert got.dtype == dtype
        error = np.abs(np.asarray(got, np.float64) - expected.numpy())
        relative = error / np.maximum(np.abs(expected.numpy()), 1)
        assert relative.max() <= units
        record_property("parity", ("conv2d", dtype, float(relative.max())))
