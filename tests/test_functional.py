"""What holds of every function: transformations, dtypes, derivatives; and layers, activations."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from jax.test_util import check_grads

import fgrad
from fgrad import functional

NAN, INF = float("nan"), float("inf")
HALF = {"bfloat16": 2**-7, "float16": 2**-10}

RNG = np.random.default_rng(0)
IMAGE = RNG.permutation(3 * 4 * 6 * 7).reshape(3, 4, 6, 7) / 64 - 3
SCORES = RNG.standard_normal((3, 4, 2))
CLASSES = RNG.integers(0, 2, (3, 4))
ERRORS = {"input": RNG.standard_normal((3, 4)), "target": RNG.standard_normal((3, 4))}
WEIGHT = {"weight": RNG.uniform(0.5, 2, (3, 4))}
PROBS = {"input": RNG.standard_normal((3, 4)), "target": RNG.uniform(0.1, 1, (3, 4))}

Arrays = Mapping[str, npt.NDArray[Any]]

# A call of every function: what carries a batch in front, what does not, and the other arguments.
# No number is at a kink, where a finite difference means nothing.
CALLS: list[tuple[str, Arrays, Arrays, dict[str, Any]]] = [
    (
        "linear",
        {"input": SCORES},
        {"weight": RNG.standard_normal((5, 2)), "bias": RNG.standard_normal(5)},
        {},
    ),
    (
        "conv2d",
        {"input": IMAGE},
        {"weight": RNG.standard_normal((6, 2, 3, 2)), "bias": RNG.standard_normal(6)},
        {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "groups": 2},
    ),
    *(
        (
            "conv2d_relu_max_pool2d",
            {"input": IMAGE},
            {"weight": RNG.standard_normal((5, 4, 3, 2)), "bias": RNG.standard_normal(5)},
            {"padding": 1, **options, "pool_size": (2, 1)},
        )
        for options in ({}, {"dilation": 2})
    ),
    ("max_pool2d", {"input": IMAGE}, {}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", {"input": IMAGE}, {}, {"kernel_size": 2, "dilation": 2, "ceil_mode": True}),
    ("avg_pool2d", {"input": IMAGE}, {}, {"kernel_size": (2, 3), "ceil_mode": True}),
    ("adaptive_avg_pool2d", {"input": IMAGE}, {}, {"output_size": (4, 3)}),
    ("flatten", {"input": SCORES}, {}, {"start_dim": 0}),
    ("dropout", {"input": SCORES}, {}, {"key": jax.random.key(0)}),
    ("relu", {"input": SCORES}, {}, {}),
    ("leaky_relu", {"input": SCORES}, {}, {}),
    ("sigmoid", {"input": SCORES}, {}, {}),
    ("tanh", {"input": SCORES}, {}, {}),
    ("gelu", {"input": SCORES}, {}, {}),
    ("gelu", {"input": SCORES}, {}, {"approximate": "tanh"}),
    ("softmax", {"input": SCORES}, {}, {"dim": 0}),
    ("log_softmax", {"input": SCORES}, {}, {"dim": -1}),
    ("l1_loss", {**ERRORS, **WEIGHT}, {}, {}),
    ("mse_loss", {**ERRORS, **WEIGHT}, {}, {}),
    ("smooth_l1_loss", ERRORS, {}, {"beta": 0.7}),
    ("huber_loss", {**ERRORS, **WEIGHT}, {}, {"delta": 0.7}),
    ("nll_loss", {"input": SCORES, "target": CLASSES}, {"weight": RNG.uniform(1, 2, 2)}, {}),
    (
        "cross_entropy",
        {"input": SCORES, "target": CLASSES},
        {"weight": RNG.uniform(1, 2, 2)},
        {"label_smoothing": 0.1},
    ),
    ("cross_entropy", PROBS, {}, {"reduction": "sum"}),
    (
        "binary_cross_entropy_with_logits",
        {**PROBS, **WEIGHT},
        {"pos_weight": RNG.uniform(1, 2, (1,))},
        {},
    ),
    ("kl_div", PROBS, {}, {"reduction": "batchmean"}),
    ("kl_div", PROBS, {}, {"log_target": True}),
]
EVERY = pytest.mark.parametrize(
    ("name", "batched", "shared", "options"),
    CALLS,
    ids=[f"{call[0]}-{number}" for number, call in enumerate(CALLS)],
)


def cast(arrays: Arrays, dtype: str) -> dict[str, jax.Array]:
    """Return JAX arrays, the floating-point ones of `dtype`."""
    return {
        key: jnp.asarray(value, dtype if value.dtype.kind == "f" else None)
        for key, value in arrays.items()
    }


def first(arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Return the first example of each."""
    return {key: value[0] for key, value in arrays.items()}


def test_all_is_sorted_and_covered() -> None:
    """Nothing public is left out of the tests below."""
    assert fgrad.functional is functional
    assert functional.__all__ == sorted(functional.__all__)
    assert {call[0] for call in CALLS} == set(functional.__all__)


@pytest.mark.parametrize("name", functional.__all__)
def test_docstring(name: str) -> None:
    """Every function says what it is, takes, gives and refuses, and where it comes from."""
    doc = inspect.getdoc(getattr(functional, name)) or ""
    for heading in ("Args:", "Returns:", "Raises:", "Example:", "Source: `torch."):
        assert heading in doc
    for argument in inspect.signature(getattr(functional, name)).parameters:
        assert f"    {argument}: " in doc


@EVERY
def test_jit_and_vmap(name: str, batched: Arrays, shared: Arrays, options: dict[str, Any]) -> None:
    """The same numbers compiled, and example by example."""
    function = getattr(functional, name)
    many, same = cast(batched, "float32"), cast(shared, "float32")

    def call(example: Mapping[str, jax.Array]) -> jax.Array:
        output: jax.Array = function(**example, **same, **options)
        return output

    compiled = jax.jit(jax.vmap(call))(many)
    for number in range(3):
        alone = call({key: value[number] for key, value in many.items()})
        np.testing.assert_allclose(compiled[number], alone, 1e-5, 1e-6, strict=True)


@EVERY
def test_derivatives(name: str, batched: Arrays, shared: Arrays, options: dict[str, Any]) -> None:
    """First and second ones, forward and reverse, against finite differences in float64."""
    function = getattr(functional, name)
    with jax.enable_x64(True):
        arrays = {**first(cast(batched, "float64")), **cast(shared, "float64")}
        varied = {key: value for key, value in arrays.items() if value.dtype == jnp.float64}
        fixed = {key: value for key, value in arrays.items() if key not in varied}

        def call(varied: Mapping[str, jax.Array]) -> jax.Array:
            output: jax.Array = function(**varied, **fixed, **options)
            return output

        check_grads(call, (varied,), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6, eps=1e-6)


@EVERY
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_dtypes(
    dtype: str, name: str, batched: Arrays, shared: Arrays, options: dict[str, Any]
) -> None:
    """The result and the gradient keep the type; half precision is float32's, rounded."""
    function = getattr(functional, name)
    with jax.enable_x64(dtype == "float64"):
        arrays = {**first(cast(batched, dtype)), **cast(shared, dtype)}
        input = arrays.pop("input")
        output, pull = jax.vjp(lambda input: function(input, **arrays, **options), input)
        (grad,) = pull(jnp.ones_like(output))
        assert output.dtype == grad.dtype == input.dtype == dtype
        if dtype in HALF:
            wide = {
                key: value.astype("float32") if value.dtype == dtype else value
                for key, value in arrays.items()
            }
            exact = function(input.astype("float32"), **wide, **options)
            # One rounding, and in linear and conv2d one more before the bias.
            np.testing.assert_allclose(
                output.astype("float32"), exact, rtol=2 * HALF[dtype], atol=2 * HALF[dtype]
            )


@pytest.mark.parametrize("name", functional.__all__)
@pytest.mark.parametrize("value", [1.0, [1.0], None, "1"], ids=repr)
def test_no_array_is_refused(name: str, value: object) -> None:
    """A list, a number or a string is not converted in passing."""
    function = getattr(functional, name)
    others: dict[str, Any] = {
        parameter: 1 if parameter in ("kernel_size", "output_size", "pool_size") else jnp.ones(1)
        for parameter, described in inspect.signature(function).parameters.items()
        if described.default is inspect.Parameter.empty and parameter not in ("input", "key")
    }
    if name == "dropout":
        others["key"] = None
    with pytest.raises(
        ValueError, match=r"^input: expected an array, got (float|list|NoneType|str)"
    ):
        function(value, **others)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "dropout"])
def test_in_place_is_refused(name: str) -> None:
    """JAX's arrays never change."""
    options = {"key": None} if name == "dropout" else {}
    with pytest.raises(ValueError, match=r"^inplace: expected False, .+ got True"):
        getattr(functional, name)(jnp.ones(1), inplace=True, **options)


def test_relu_at_its_kink() -> None:
    """The derivative at 0 is 0; NaN passes."""
    x = jnp.array([-1.0, -0.0, 0.0, 1.0, NAN])
    np.testing.assert_array_equal(functional.relu(x), [0, 0, 0, 1, NAN])
    np.testing.assert_array_equal(jax.grad(lambda x: functional.relu(x).sum())(x), [0, 0, 0, 1, 1])


@pytest.mark.parametrize(("slope", "expected"), [(INF, [1, INF, 1]), (NAN, [1, NAN, 1])])
def test_leaky_relu_s_slope_stays_on_its_side(slope: float, expected: list[float]) -> None:
    x = jnp.array([1.0, -2.0, 3.0])
    grad = jax.grad(lambda x: functional.leaky_relu(x, slope).sum())(x)
    np.testing.assert_array_equal(grad, expected)
    np.testing.assert_array_equal(functional.leaky_relu(x, slope), x * jnp.array(expected))


def test_leaky_relu_at_its_kink() -> None:
    """The derivative at 0 is the slope."""
    x = jnp.array([-1.0, 0.0, 1.0])
    grad = jax.grad(lambda x: functional.leaky_relu(x, 0.25).sum())(x)
    np.testing.assert_array_equal(grad, [0.25, 0.25, 1])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_is_a_distribution(dim: int) -> None:
    """Positive, and 1 in sum, shifted or not."""
    x = jnp.asarray(ERRORS["input"], jnp.float32)
    probs = functional.softmax(x, dim)
    np.testing.assert_allclose(probs.sum(dim), 1, 1e-6)
    np.testing.assert_allclose(functional.softmax(x + 100, dim), probs, 1e-4)
    np.testing.assert_allclose(jnp.exp(functional.log_softmax(x, dim)), probs, 1e-5)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_refusals(name: str) -> None:
    """A guessed dimension, and a dtype that holds no fraction."""
    function = getattr(functional, name)
    with pytest.raises(ValueError, match=r"^dim: expected a dimension, got None"):
        function(jnp.ones(3))
    with pytest.raises(ValueError, match=r"^dtype: expected a floating-point type, got int32"):
        function(jnp.ones(3), 0, dtype=jnp.int32)


def test_dropout_keeps_the_mean() -> None:
    """A share of p is dropped, the rest scaled; another key drops others."""
    x = jnp.ones(100_000)
    dropped = functional.dropout(x, 0.3, key=jax.random.key(0))
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.7)}
    # Five standard deviations of a binomial share.
    assert abs(float(jnp.mean(dropped == 0)) - 0.3) < 5 * (0.3 * 0.7 / 100_000) ** 0.5
    other = functional.dropout(x, 0.3, key=jax.random.key(1))
    assert (dropped != other).any()


def test_dropout_at_the_ends() -> None:
    """Nothing is dropped at 0 or in evaluation, everything at 1."""
    x, key = jnp.array([1.0, -2.0]), jax.random.key(0)
    np.testing.assert_array_equal(functional.dropout(x, 0.0, key=key), x)
    np.testing.assert_array_equal(functional.dropout(x, 1.0, key=key), [0, 0])
    np.testing.assert_array_equal(functional.dropout(x, training=False, key=None), x)
    with pytest.raises(ValueError, match=r"^key: expected a jax.random.key in training, got None"):
        functional.dropout(x, key=None)


# What a type checker would refuse.
ONE: Any = 1
ARRAY: Any = jnp.ones(1)

REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("weight: expected shape .+, got", lambda: functional.linear(jnp.ones(3), jnp.ones((4, 2)))),
    (
        r"bias: expected shape \(4,\) or \(\), got \(1,\)",
        lambda: functional.linear(jnp.ones(3), jnp.ones((4, 3)), jnp.ones(1)),
    ),
    (
        "weight: expected float32, as input has, got float16",
        lambda: functional.linear(jnp.ones(3), jnp.ones((4, 3), jnp.float16)),
    ),
    ("input: expected one of .+, got int32", lambda: functional.tanh(jnp.ones(3, jnp.int32))),
    ("input: expected one of .+, got complex64", lambda: functional.relu(jnp.ones(3, complex))),
    ("start_dim: expected at most end_dim", lambda: functional.flatten(jnp.ones((1, 1)), 1, 0)),
    ("end_dim: expected a dimension", lambda: functional.flatten(jnp.ones((1, 1)), 0, 2)),
    ("p: expected a number from 0 to 1", lambda: functional.dropout(jnp.ones(1), 2, key=None)),
    ("training: expected True", lambda: functional.dropout(jnp.ones(1), 0.5, ONE, key=None)),
    ("approximate: expected 'none'", lambda: functional.gelu(jnp.ones(1), "exact")),
    ("negative_slope: expected a", lambda: functional.leaky_relu(jnp.ones(1), ARRAY)),
]


@pytest.mark.parametrize(("message", "call"), REFUSED, ids=[case[0] for case in REFUSED])
@pytest.mark.parametrize("compiled", [False, True])
def test_refusals(compiled: bool, message: str, call: Callable[[], object]) -> None:
    """By name, with what was expected and what came, eagerly and while tracing."""
    with pytest.raises(ValueError, match=f"^{message}"):
        (jax.jit(call) if compiled else call)()
