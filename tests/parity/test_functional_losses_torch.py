"""The losses against an installed PyTorch, over their whole space of arguments."""

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
DTYPES = ["float64", "float32", "bfloat16", "float16"]
REDUCTIONS = ["none", "mean", "sum"]
SHAPES: list[tuple[int, ...]] = [(), (7,), (4, 3), (0, 3), (2, 3, 4)]
DTYPES_AND_SHAPES = [
    *itertools.product(["float64", "float32"], SHAPES),
    *itertools.product(["bfloat16", "float16"], [(4, 3)]),
]

REGRESSION: list[tuple[str, dict[str, Any]]] = [
    ("l1_loss", {}),
    ("mse_loss", {}),
    *(("smooth_l1_loss", {"beta": beta}) for beta in (0, 0.5, 1.0, INF)),
    *(("huber_loss", {"delta": delta}) for delta in (0.5, 1.0, INF)),
]


@pytest.mark.parametrize(("name", "options"), REGRESSION, ids=str)
@pytest.mark.parametrize(("dtype", "shape"), DTYPES_AND_SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_regression_loss(
    parity: Check,
    reduction: str,
    dtype: str,
    shape: tuple[int, ...],
    name: str,
    options: Mapping[str, Any],
) -> None:
    """Every reduction, with and without weights where there are any."""
    rng = np.random.default_rng(0)
    arrays = {"input": rng.standard_normal(shape), "target": rng.standard_normal(shape)}
    parity(name, arrays, dtype=dtype, reduction=reduction, **options)
    if name != "smooth_l1_loss":
        arrays["weight"] = rng.uniform(0.5, 2, shape)
        parity(name, arrays, dtype=dtype, reduction=reduction, **options)


@pytest.mark.parametrize(("name", "options"), REGRESSION, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_regression_loss_at_its_kinks(
    parity: Check, dtype: str, reduction: str, name: str, options: Mapping[str, Any]
) -> None:
    """No error, an error of exactly beta or delta, infinite ones, and NaN."""
    edges = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0])
    extremes = np.array([INF, -INF, NAN, 1e2, -1e2])
    for values in (edges, extremes):
        arrays = {"input": values + 2, "target": np.full(values.shape, 2.0)}
        parity(name, arrays, dtype=dtype, reduction=reduction, **options)
    both = {"input": np.array([INF, -INF, INF]), "target": np.array([INF, -INF, -INF])}
    parity(name, both, dtype=dtype, reduction=reduction, **options)


def logits_and_classes(
    shape: tuple[int, ...], *, ignored: int | None
) -> dict[str, npt.NDArray[Any]]:
    """Return logits of a shape, and class indices for them, some of them `ignored`."""
    rng = np.random.default_rng(0)
    axis = min(1, len(shape) - 1)
    target = rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    if ignored is not None:
        target = np.where(rng.random(target.shape) < 0.3, ignored, target)
    return {"input": 3 * rng.standard_normal(shape), "target": np.asarray(target)}


CLASS_SHAPES = [(5,), (6, 4), (0, 4), (1, 1), (3, 4, 5), (2, 3, 4, 2), (2, 3, 2, 2, 2), (3, 4, 0)]
CLASS_CASES = random.Random(0).sample(
    list(
        itertools.product(
            ["nll_loss", "cross_entropy"],
            CLASS_SHAPES,
            REDUCTIONS,
            [None, -100, 2, 0, 77],
            [False, True],
            [0.0, 0.1, 1.0],
        )
    ),
    180,
)


@pytest.mark.parametrize(
    ("name", "shape", "reduction", "ignored", "weighted", "smoothing"), CLASS_CASES, ids=str
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_class_indices(
    parity: Check,
    dtype: str,
    name: str,
    shape: tuple[int, ...],
    reduction: str,
    ignored: int | None,
    weighted: bool,
    smoothing: float,
) -> None:
    """Any choice of arguments."""
    arrays = logits_and_classes(shape, ignored=ignored)
    if weighted:
        classes = shape[min(1, len(shape) - 1)]
        arrays["weight"] = np.random.default_rng(1).uniform(0.5, 2, classes)
    options: dict[str, Any] = {"reduction": reduction}
    if ignored is not None:
        options["ignore_index"] = ignored
    if name == "cross_entropy":
        options["label_smoothing"] = smoothing
    parity(name, arrays, dtype=dtype, constants=["weight"], **options)


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_class_indices_in_half_precision(
    parity: Check, dtype: str, reduction: str, name: str
) -> None:
    """The half types, which fgrad rounds once and PyTorch after every step."""
    arrays = logits_and_classes((6, 4), ignored=-100)
    parity(name, arrays, dtype=dtype, reduction=reduction)


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_indices_at_the_edges(
    parity: Check, reduction: str, name: str, smoothing: float
) -> None:
    """Nothing but ignored targets, weights of zero, logits of minus infinity."""
    options = {"label_smoothing": smoothing} if name == "cross_entropy" else {}
    arrays = logits_and_classes((5, 4), ignored=None)
    everything = {**arrays, "target": np.full(5, 2)}
    parity(name, everything, reduction=reduction, ignore_index=2, **options)
    none = {**arrays, "weight": np.zeros(4)}
    parity(name, none, constants=["weight"], reduction=reduction, **options)
    arrays["input"][0, arrays["target"][0]] = -INF
    arrays["input"][1, (arrays["target"][1] + 1) % 4] = -INF
    arrays["input"][2] = -INF
    arrays["input"][3, 0] = INF
    parity(name, arrays, reduction=reduction, **options)
    arrays["weight"] = np.array([0.0, 1.0, 0.0, 2.0])
    parity(name, arrays, constants=["weight"], reduction=reduction, **options)


PROBABILITY_CASES = random.Random(0).sample(
    list(itertools.product([0.0, 0.1, 1.0], [False, True], REDUCTIONS, CLASS_SHAPES)), 70
)


@pytest.mark.parametrize(
    ("smoothing", "weighted", "reduction", "shape"), PROBABILITY_CASES, ids=str
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_class_probabilities(
    parity: Check,
    dtype: str,
    smoothing: float,
    weighted: bool,
    reduction: str,
    shape: tuple[int, ...],
) -> None:
    """Targets with a gradient of their own."""
    rng = np.random.default_rng(0)
    arrays = {"input": 3 * rng.standard_normal(shape), "target": rng.uniform(0, 1, shape)}
    if weighted:
        arrays["weight"] = rng.uniform(0.5, 2, shape[min(1, len(shape) - 1)])
    parity(
        "cross_entropy",
        arrays,
        dtype=dtype,
        constants=["weight"],
        reduction=reduction,
        label_smoothing=smoothing,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_probabilities_at_the_edges(parity: Check, reduction: str, smoothing: float) -> None:
    """A probability of 0 against a logit of minus infinity is NaN in PyTorch."""
    logits = np.array([[-INF, 0.0, 1.0], [2.0, -INF, 1.0], [0.0, INF, 0.0]])
    parity(
        "cross_entropy",
        {"input": logits, "target": np.eye(3)},
        reduction=reduction,
        label_smoothing=smoothing,
    )


WEIGHTS = [None, "full", "last", "one"]
BINARY_CASES = random.Random(0).sample(
    list(itertools.product(WEIGHTS, WEIGHTS, REDUCTIONS, SHAPES)), 120
)


@pytest.mark.parametrize(("pos_weight", "weight", "reduction", "shape"), BINARY_CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_binary_cross_entropy_with_logits(
    parity: Check,
    dtype: str,
    pos_weight: str | None,
    weight: str | None,
    reduction: str,
    shape: tuple[int, ...],
) -> None:
    """Weights of every shape that broadcasts to the input's."""
    rng = np.random.default_rng(0)
    arrays = {"input": 4 * rng.standard_normal(shape), "target": rng.uniform(0, 1, shape)}
    sizes = {"full": shape, "last": shape[-1:], "one": (1,) * len(shape)}
    if weight is not None:
        arrays["weight"] = rng.uniform(0.5, 2, sizes[weight])
    if pos_weight is not None:
        arrays["pos_weight"] = rng.uniform(0.5, 2, sizes[pos_weight])
    parity(
        "binary_cross_entropy_with_logits",
        arrays,
        dtype=dtype,
        constants=["weight", "pos_weight"],  # PyTorch has no gradient of these
        reduction=reduction,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("pos_weight", [None, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_with_extreme_logits(
    parity: Check, dtype: str, pos_weight: float | None, reduction: str
) -> None:
    """Sure of yes and of no, rightly and wrongly, up to infinity; the digits of small losses."""
    logits = [-INF, -300.0, -40.0, -20.0, -1.0, 0.0, 1.0, 20.0, 40.0, 300.0, INF, NAN]
    for target in (0.0, 0.5, 1.0):
        for part in (logits, logits[1:-2]):
            arrays = {"input": np.array(part), "target": np.full(len(part), target)}
            if pos_weight is not None:
                arrays["pos_weight"] = np.asarray(pos_weight)
            parity(
                "binary_cross_entropy_with_logits",
                arrays,
                dtype=dtype,
                constants=["pos_weight"],
                reduction=reduction,
            )


@pytest.mark.parametrize(("dtype", "shape"), DTYPES_AND_SHAPES, ids=str)
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(
    parity: Check, log_target: bool, reduction: str, dtype: str, shape: tuple[int, ...]
) -> None:
    """All four reductions of both forms."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0.05, 1, shape)
    arrays = {
        "input": np.log(rng.uniform(0.05, 1, shape)),
        "target": np.log(target) if log_target else target,
    }
    parity("kl_div", arrays, dtype=dtype, reduction=reduction, log_target=log_target)


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0, -1.0, INF, -INF, NAN])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div_at_the_edges(parity: Check, log_target: bool, target: float) -> None:
    """Probabilities of 0 and beyond 1, and infinities."""
    values = np.array([-INF, -1.0, -0.0, 0.0, 1.0, INF, NAN])
    arrays = {"input": values, "target": np.full(values.shape, target)}
    parity("kl_div", arrays, reduction="none", log_target=log_target)
