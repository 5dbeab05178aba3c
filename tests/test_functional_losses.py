"""The losses in closed form, at their kinks, and what they refuse."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from jax.sharding import AxisType, PartitionSpec

from fgrad import functional

INF, NAN = float("inf"), float("nan")

ELEMENTWISE: list[tuple[str, dict[str, Any]]] = [
    ("l1_loss", {}),
    ("mse_loss", {}),
    ("smooth_l1_loss", {"beta": 0.5}),
    ("huber_loss", {"delta": 0.5}),
    ("binary_cross_entropy_with_logits", {}),
    ("kl_div", {}),
]

INPUT = jnp.array([[0.1, -2.0, 0.5], [1.5, 3.0, -0.25]])
TARGET = jnp.array([[0.3, 0.5, 0.5], [0.9, 0.1, 1.0]])
ERROR = np.asarray(INPUT) - np.asarray(TARGET)
PROBS = 1 / (1 + np.exp(-np.asarray(INPUT)))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("l1_loss", {}, np.abs(ERROR)),
        ("mse_loss", {}, ERROR**2),
        ("smooth_l1_loss", {}, np.where(abs(ERROR) < 1, ERROR**2 / 2, abs(ERROR) - 0.5)),
        (
            "smooth_l1_loss",
            {"beta": 2},
            np.where(abs(ERROR) < 2, ERROR**2 / 4, abs(ERROR) - 1),
        ),
        ("smooth_l1_loss", {"beta": 0}, np.abs(ERROR)),
        (
            "huber_loss",
            {"delta": 2},
            np.where(abs(ERROR) < 2, ERROR**2 / 2, 2 * abs(ERROR) - 2),
        ),
        (
            "binary_cross_entropy_with_logits",
            {},
            -TARGET * np.log(PROBS) - (1 - TARGET) * np.log(1 - PROBS),
        ),
        ("kl_div", {}, TARGET * (np.log(TARGET) - INPUT)),
        ("kl_div", {"log_target": True}, np.exp(TARGET) * (TARGET - INPUT)),
    ],
)
def test_closed_forms(name: str, options: dict[str, Any], expected: np.ndarray[Any, Any]) -> None:
    """Element by element, and reduced."""
    loss = getattr(functional, name)
    elements = loss(INPUT, TARGET, reduction="none", **options)
    np.testing.assert_allclose(elements, expected, 1e-5, 1e-6)
    np.testing.assert_allclose(loss(INPUT, TARGET, **options), np.mean(expected), 1e-5, 1e-6)
    total = loss(INPUT, TARGET, reduction="sum", **options)
    np.testing.assert_allclose(total, np.sum(expected), 1e-5, 1e-6)
    if name == "kl_div":
        by_batch = loss(INPUT, TARGET, reduction="batchmean", **options)
        np.testing.assert_allclose(by_batch, np.sum(expected) / 2, 1e-5, 1e-6)


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
def test_the_mean_of_nothing(name: str, options: dict[str, Any]) -> None:
    """NaN, where the sum is 0."""
    loss, nothing = getattr(functional, name), jnp.zeros((0, 3))
    assert np.isnan(loss(nothing, nothing, **options))
    assert loss(nothing, nothing, reduction="sum", **options) == 0
    assert loss(nothing, nothing, reduction="none", **options).shape == (0, 3)


@pytest.mark.parametrize("name", ["l1_loss", "mse_loss", "huber_loss"])
def test_weighted_mean(name: str) -> None:
    """Over the weights; huber_loss alone over the elements."""
    loss, weight = getattr(functional, name), jnp.array([[1.0, 2.0, 0.0], [0.5, 1.0, 4.0]])
    weighted = loss(INPUT, TARGET, reduction="none") * weight
    np.testing.assert_allclose(loss(INPUT, TARGET, reduction="none", weight=weight), weighted)
    divisor = 6 if name == "huber_loss" else weight.sum()
    np.testing.assert_allclose(loss(INPUT, TARGET, weight=weight), weighted.sum() / divisor, 1e-6)


@pytest.mark.parametrize(
    ("name", "options", "slopes"),
    [
        ("l1_loss", {}, [-1, -1, -1, 0, 1, 1, 1]),
        ("smooth_l1_loss", {"beta": 2}, [-1, -1, -0.5, 0, 0.5, 1, 1]),
        ("smooth_l1_loss", {"beta": 0}, [-1, -1, -1, 0, 1, 1, 1]),
        ("huber_loss", {"delta": 2}, [-2, -2, -1, 0, 1, 2, 2]),
        ("huber_loss", {"delta": INF}, [-INF, -2, -1, 0, 1, 2, INF]),
    ],
)
def test_slopes_at_kinks_and_infinities(
    name: str, options: dict[str, Any], slopes: list[float]
) -> None:
    """0 without an error; the line's where it begins; finite far out."""
    errors = jnp.array([-INF, -2.0, -1.0, 0.0, 1.0, 2.0, INF])
    loss = getattr(functional, name)

    def total(input: jax.Array, target: jax.Array) -> jax.Array:
        result: jax.Array = loss(input, target, reduction="sum", **options)
        return result

    if name == "huber_loss" and options["delta"] == INF:
        errors, slopes = errors[1:-1], slopes[1:-1]  # infinity against infinity is NaN
    grads = jax.grad(total, argnums=(0, 1))(errors, jnp.zeros_like(errors))
    np.testing.assert_array_equal(grads[0], slopes)
    np.testing.assert_array_equal(grads[1], np.negative(slopes))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_smooth_l1_loss_of_nan_below_the_least_beta(
    transform: Callable[[Callable[..., jax.Array]], Callable[..., jax.Array]],
) -> None:
    """A beta that float32 has no number for, and NaN, make NaN: compiled or not, as in PyTorch."""
    slope = jax.grad(lambda x: functional.smooth_l1_loss(x, jnp.zeros(1), beta=1e-300))
    np.testing.assert_array_equal(transform(slope)(jnp.array([NAN])), [NAN])


@pytest.mark.parametrize(
    ("call", "values"),
    [
        (lambda v: functional.huber_loss(INPUT, TARGET, delta=v), [0.5, 2.0]),
        (lambda v: functional.smooth_l1_loss(INPUT, TARGET, beta=v), [0.0, 0.5, 2.0]),
        (lambda v: functional.leaky_relu(INPUT, v).sum(), [-0.5, 0.0, 2.0]),
        (
            lambda v: functional.cross_entropy(INPUT, np.array([1, 0]), label_smoothing=v),
            [0.0, 0.25],
        ),
        (
            lambda v: functional.cross_entropy(INPUT, TARGET, label_smoothing=v),
            [0.0, 0.25],
        ),
        (lambda v: functional.dropout(INPUT, v, key=jax.random.key(0)).sum(), [0.0, 0.5, 1.0]),
    ],
    ids=["huber", "smooth_l1", "leaky_relu", "indices", "probabilities", "dropout"],
)
def test_numbers_may_be_traced(call: Callable[[Any], jax.Array], values: list[float]) -> None:
    """0-d arrays are taken, so that `vmap` runs over them; their slope is a difference quotient."""
    one_by_one = [call(value) for value in values]
    np.testing.assert_array_equal([call(np.float32(value)) for value in values], one_by_one)
    np.testing.assert_array_equal([call(jnp.asarray(value)) for value in values], one_by_one)
    np.testing.assert_allclose(jax.vmap(call)(jnp.array(values)), one_by_one, rtol=1e-6)
    slope = jax.grad(call)(jnp.float32(0.3))
    quotient = (call(0.3 + 1e-3) - call(0.3 - 1e-3)) / 2e-3
    np.testing.assert_allclose(slope, quotient, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("weight", [None, np.float32([1, 2, 3])], ids=["plain", "weighted"])
def test_class_losses_of_explicitly_sharded_labels(
    name: str, weight: npt.NDArray[np.float32] | None
) -> None:
    scores = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, -100])

    def loss(scores: jax.Array, labels: jax.Array) -> jax.Array:
        result: jax.Array = getattr(functional, name)(scores, labels, weight)
        return result

    expected = jax.value_and_grad(loss)(jnp.asarray(scores), jnp.asarray(labels))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        split = [jax.device_put(array, PartitionSpec("data")) for array in (scores, labels)]
        for function in (jax.value_and_grad(loss), jax.jit(jax.value_and_grad(loss))):
            jax.tree.map(
                lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=1e-6),
                function(*split),
                expected,
            )


def test_binary_cross_entropy_has_an_exact_slope() -> None:
    """The derivative for a sure and right no is the probability of yes, to its last digits."""

    def loss(x: jax.Array) -> jax.Array:
        return functional.binary_cross_entropy_with_logits(x, jnp.zeros_like(x))

    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(-30)), np.exp(-30.0), 1e-6)


def test_binary_cross_entropy_weights() -> None:
    """pos_weight multiplies the yes, weight the whole."""
    loss = functional.binary_cross_entropy_with_logits
    ones, zeros = jnp.ones_like(INPUT), jnp.zeros_like(INPUT)
    positive, weight = jnp.array([2.0, 3.0, 0.5]), jnp.array([[2.0], [0.5]])
    yes, no = loss(INPUT, ones, reduction="none"), loss(INPUT, zeros, reduction="none")
    mixed = TARGET * yes * positive[None] + (1 - TARGET) * no
    actual = loss(INPUT, TARGET, weight, reduction="none", pos_weight=positive)
    np.testing.assert_allclose(actual, mixed * weight, 1e-5)


def test_kl_div_of_what_never_happens_is_0() -> None:
    """As 0 log 0 is; and nor does its score count."""
    target, scores = jnp.array([0.0, 0.0, 1.0]), jnp.array([-1.0, -100.0, 0.0])
    loss = functional.kl_div(scores, target, reduction="none")
    np.testing.assert_array_equal(loss, np.zeros(3))
    slope = jax.grad(lambda x: functional.kl_div(x, target, reduction="sum"))(scores)
    np.testing.assert_array_equal(slope, [0.0, 0.0, -1.0])


SCORES = jnp.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [0.2, 0.1, 0.0]])
LOG_PROBS = jax.nn.log_softmax(SCORES)


def test_nll_loss_and_cross_entropy() -> None:
    """Minus the log-probability of the class."""
    target = jnp.array([2, 0, 1])
    expected = -LOG_PROBS[jnp.arange(3), target]
    for loss, input in ((functional.nll_loss, LOG_PROBS), (functional.cross_entropy, SCORES)):
        np.testing.assert_allclose(loss(input, target, reduction="none"), expected, 1e-6)
        np.testing.assert_allclose(loss(input, target), expected.mean(), 1e-6)
        np.testing.assert_allclose(loss(input[0], target[0]), expected[0], 1e-6)
        pixels = jnp.stack([input, input], axis=-1)
        twice = loss(pixels, jnp.stack([target, target], axis=-1), reduction="none")
        np.testing.assert_allclose(twice, jnp.stack([expected, expected], axis=-1), 1e-6)


def test_cross_entropy_of_probabilities_is_that_of_indices() -> None:
    """One-hot or not, smoothed or not, weighted or not, summed."""
    target, weight = jnp.array([2, 0, 1]), jnp.array([0.5, 1.0, 2.0])
    for smoothing in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(
            functional.cross_entropy(
                SCORES, target, weight, reduction="sum", label_smoothing=smoothing
            ),
            functional.cross_entropy(
                SCORES,
                jax.nn.one_hot(target, 3),
                weight,
                reduction="sum",
                label_smoothing=smoothing,
            ),
            1e-6,
        )


@pytest.mark.parametrize("ignored", [-100, 1, 7])
@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
def test_ignored_targets(name: str, ignored: int) -> None:
    """No loss, no gradient, no share in the mean, not even of an infinity or under jit."""
    loss = jax.jit(getattr(functional, name), static_argnames=("ignore_index", "reduction"))
    target = jnp.array([2, ignored, 0])
    scores = SCORES.at[1, 1].set(-INF)
    kept = loss(SCORES[::2], target[::2], ignore_index=ignored)
    np.testing.assert_allclose(loss(scores, target, ignore_index=ignored), kept, 1e-6)
    grad = jax.grad(lambda x: loss(x, target, ignore_index=ignored))(scores)
    np.testing.assert_array_equal(grad[1], 0)
    elements = loss(scores, target, ignore_index=ignored, reduction="none")
    assert str(elements[1]) == "0.0"
    assert np.isnan(loss(scores, jnp.full(3, ignored), ignore_index=ignored))


def test_ignored_targets_are_not_smoothed_either() -> None:
    """An even share of every class would be a loss."""
    elements = functional.cross_entropy(
        SCORES, jnp.array([2, -100, 0]), reduction="none", label_smoothing=0.3
    )
    np.testing.assert_array_equal(elements == 0, [False, True, False])


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("wrong", [-1, 3, -99])
def test_class_out_of_range(name: str, wrong: int) -> None:
    """Refused where it is known; NaN where it is not."""
    loss = getattr(functional, name)
    target = jnp.array([0, wrong, 1])
    message = rf"^target: expected class indices from 0 to 2, .+, got {wrong} at index \(1,\)"
    with pytest.raises(ValueError, match=message):
        loss(SCORES, target)
    with pytest.raises(ValueError, match=message):
        jax.grad(loss)(SCORES, target)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda scores: loss(scores, target))(SCORES)
    elements = jax.jit(lambda target: loss(SCORES, target, reduction="none"))(target)
    np.testing.assert_array_equal(np.isnan(elements), [False, True, False])
    assert np.isnan(jax.jit(loss)(SCORES, target))


def test_class_index_that_int32_would_wrap() -> None:
    """Seen before it is converted."""
    with pytest.raises(ValueError, match=r"^target: expected class indices .+, got 4294967296"):
        functional.nll_loss(LOG_PROBS, np.array([0, 2**32, 1]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_class_indices_of_any_integer_type(dtype: str) -> None:
    """JAX's own default is int32."""
    target = np.array([2, 0, 1])
    expected = functional.nll_loss(LOG_PROBS, target)
    assert functional.nll_loss(LOG_PROBS, jnp.asarray(target, dtype)) == expected


X, Y = jnp.ones((3, 4)), jnp.array([0, 1, 2])
ONE: Any = 1
NO: Any = False

REFUSED: list[tuple[str, Callable[[], object]]] = [
    *(
        case
        for name, _ in ELEMENTWISE
        for case in [
            (
                r"target: expected shape \(3, 1\), got \(3,\)",
                lambda name=name: getattr(functional, name)(X[:, :1], X[:, 0]),
            ),
            (
                "target: expected float32, as input has, got float16",
                lambda name=name: getattr(functional, name)(X, X.astype(jnp.float16)),
            ),
            (
                "reduction: expected one of none, mean, sum.*, got 'average'",
                lambda name=name: getattr(functional, name)(X, X, reduction="average"),
            ),
        ]
    ),
    ("size_average: expected None, .+, got False", lambda: functional.mse_loss(X, X, NO)),
    ("reduce: expected None, .+, got False", lambda: functional.cross_entropy(X, Y, reduce=NO)),
    (r"weight: expected shape \(3, 4\), got \(4,\)", lambda: functional.l1_loss(X, X, weight=X[0])),
    (
        "beta: expected a number of at least 0, got -1",
        lambda: functional.smooth_l1_loss(X, X, beta=-1),
    ),
    ("delta: expected a number above 0, got 0", lambda: functional.huber_loss(X, X, delta=0)),
    (
        r"pos_weight: expected a shape that broadcasts to .+, got \(3,\)",
        lambda: functional.binary_cross_entropy_with_logits(X, X, pos_weight=X[:, 0]),
    ),
    ("log_target: expected True or False, got 1", lambda: functional.kl_div(X, X, log_target=ONE)),
    (r"input: expected shape .+, got \(3, 0\)", lambda: functional.nll_loss(X[:, :0], Y)),
    (r"target: expected shape \(3,\) .+, got \(3, 1\)", lambda: functional.nll_loss(X, Y[:, None])),
    ("target: expected integers, .+, got float32", lambda: functional.nll_loss(X, X[:, 0])),
    (r"weight: expected shape \(4,\), got \(3,\)", lambda: functional.nll_loss(X, Y, X[:, 0])),
    (
        "ignore_index: expected an int32, got 4294967296",
        lambda: functional.nll_loss(X, Y, ignore_index=2**32),
    ),
    (
        "ignore_index: expected a negative one .+, got 1",
        lambda: functional.cross_entropy(X, X, ignore_index=1),
    ),
    (
        "target: expected one of .+, got int32",
        lambda: functional.cross_entropy(X[0], Y[:1].repeat(4)),
    ),
    (
        "label_smoothing: expected a number from 0 to 1, got 1.5",
        lambda: functional.cross_entropy(X, Y, label_smoothing=1.5),
    ),
]


@pytest.mark.parametrize(("message", "call"), REFUSED)
@pytest.mark.parametrize("compiled", [False, True])
def test_refusals(compiled: bool, message: str, call: Callable[[], object]) -> None:
    """By name, with what was expected and what came, eagerly and while tracing."""
    with pytest.raises(ValueError, match=f"^{message}"):
        (jax.jit(call) if compiled else call)()
