"""Layers, activations and signatures against an installed PyTorch."""

import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from fgrad import functional

torch = pytest.importorskip("torch")

Check = Callable[..., None]

NAN, INF = float("nan"), float("inf")
DTYPES = ["float64", "float32", "bfloat16", "float16"]

LINEAR_SHAPES = [
    (input, weight, bias)
    for input, outputs in itertools.product(
        [(3,), (1, 3), (5, 3), (0, 3), (2, 4, 3), (5, 0)], [1, 4, 0]
    )
    for weight, bias in [
        ((outputs, input[-1]), None),
        ((outputs, input[-1]), (outputs,)),
        ((outputs, input[-1]), ()),
        ((input[-1],), None),
    ]
]

ELEMENTWISE: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("leaky_relu", {"negative_slope": -2}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
]


def numbers(kind: str) -> npt.NDArray[np.float64]:
    """Return numbers of every size, kinks included, in a few shapes."""
    rng = np.random.default_rng(0)
    return {
        "scalar": np.asarray(0.7),
        "empty": np.zeros((0, 3)),
        "kinks": np.array([-1.0, -0.0, 0.0, 1.0, 1e-300, -1e-300]),
        "extreme": np.array([-INF, INF, NAN, -1e4, 1e4, -60.0, 60.0]),
        "normal": rng.standard_normal((4, 5, 6)),
        "wide": np.linspace(-12, 12, 501),
    }[kind]


@pytest.mark.parametrize(("input", "weight", "bias"), LINEAR_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(
    parity: Check,
    dtype: str,
    input: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
) -> None:
    """Any number of leading axes, and every form of weight and bias."""
    rng = np.random.default_rng(0)
    arrays = {"input": rng.standard_normal(input), "weight": rng.standard_normal(weight)}
    if bias is not None:
        arrays["bias"] = rng.standard_normal(bias)
    parity("linear", arrays, dtype=dtype)


@pytest.mark.parametrize("kind", ["scalar", "empty", "kinks", "extreme", "normal", "wide"])
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_elementwise(
    parity: Check, dtype: str, name: str, options: Mapping[str, Any], kind: str
) -> None:
    """Kinks, infinities and NaN, far out and empty."""
    values = numbers(kind)
    if (name, kind) == ("gelu", "extreme") and not options and dtype != "float64":
        values = values[values != INF]  # of which oneDNN makes NaN: see the next test
    parity(name, {"input": values}, dtype=dtype, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_of_infinity_is_that_of_pytorchs_own_kernel(
    parity: Check, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Infinity, as of a single number, a strided tensor or float64, where oneDNN is not asked."""
    values = numbers("extreme")
    assert INF in values
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    parity("gelu", {"input": values}, dtype=dtype)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (0, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(parity: Check, dtype: str, shape: tuple[int, ...], name: str) -> None:
    """Along every axis, counted from either end."""
    rng = np.random.default_rng(0)
    axes = max(len(shape), 1)
    for dim in range(-axes, axes):
        parity(name, {"input": 4 * rng.standard_normal(shape)}, dtype=dtype, dim=dim)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("row", list(itertools.product([-INF, INF, 0.0, 1e4], repeat=3)), ids=str)
def test_softmax_of_infinities(parity: Check, name: str, row: tuple[float, ...]) -> None:
    """Where an exponential over- or underflows."""
    parity(name, {"input": np.array(row)}, dim=0)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("other", ["float32", "bfloat16", "float16"])
def test_softmax_in_another_dtype(parity: Check, dtype: str, other: str, name: str) -> None:
    """The input is converted first."""
    rng = np.random.default_rng(0)
    coarsest = max(dtype, other, key=["float32", "float16", "bfloat16"].index)
    values = jnp.asarray(rng.standard_normal((4, 5)), coarsest).astype(jnp.float32)
    parity(
        name, {"input": np.asarray(values, np.float64)}, dtype=dtype, dim=1, dtype_argument=other
    )


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (2, 0, 3), (1, 2, 3, 4)], ids=str)
def test_flatten(parity: Check, shape: tuple[int, ...]) -> None:
    """Every pair of dimensions in order."""
    axes = max(len(shape), 1)
    values = np.random.default_rng(0).standard_normal(shape)
    for start, end in itertools.product(range(-axes, axes), repeat=2):
        if start % axes <= end % axes:
            parity("flatten", {"input": values}, start_dim=start, end_dim=end)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_multiplies_as_pytorch_does(p: float) -> None:
    """The numbers drawn differ; what they are, and what becomes of an infinity, does not."""
    values = np.array([3.0] * 500 + [INF] * 500, np.float32)
    expected = torch.nn.functional.dropout(torch.tensor(values), p).numpy()
    actual = functional.dropout(jnp.asarray(values), p, key=jax.random.key(0))
    np.testing.assert_array_equal(np.unique(actual), np.unique(expected))


@pytest.mark.parametrize("name", functional.__all__)
def test_signature(name: str) -> None:
    """The same arguments in the same places with the same defaults."""
    ours = inspect.signature(getattr(functional, name)).parameters
    expected = defaults_in_torch(name)
    own = ("key", "pool_size")  # randomness is explicit; and a fused function has one more
    defaults = {key: value.default for key, value in ours.items() if key not in own}
    assert list(defaults) == list(expected)
    assert defaults == expected


def defaults_in_torch(name: str) -> dict[str, object]:
    """Return the arguments of PyTorch's function and their defaults, private ones left out."""
    if name == "max_pool2d":  # PyTorch dispatches on its return_indices
        name = "max_pool2d_with_indices"
    if name == "conv2d_relu_max_pool2d":
        name = "conv2d"
    theirs = torch.flatten if name == "flatten" else getattr(torch.nn.functional, name)
    try:
        signature = inspect.signature(theirs)
    except ValueError:
        # A builtin: its signature is the first line of its documentation.
        found = re.search(rf"^{name}\((.*)\) -> Tensor", theirs.__doc__, re.MULTILINE)
        assert found is not None
        signature = inspect.signature(eval(f"lambda {found[1]}: None"))
    return {
        key: value.default for key, value in signature.parameters.items() if not key.startswith("_")
    }
