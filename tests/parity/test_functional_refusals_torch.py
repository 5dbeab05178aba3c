"""What an installed PyTorch refuses, fgrad refuses with a ValueError that names the argument."""

import warnings
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
import pytest
from torch_functions import torch_function

from fgrad import functional

torch = pytest.importorskip("torch")


def f(*shape: int) -> np.ndarray[Any, Any]:
    """Return float32 zeros."""
    return np.zeros(shape, np.float32)


def i(*values: int) -> np.ndarray[Any, Any]:
    """Return class indices."""
    return np.array(values, np.int64)


IMAGE, FILTERS = f(2, 4, 6, 7), f(6, 4, 3, 3)
HALF, DOUBLE, WHOLE = f(3).astype(np.float16), f(3).astype(np.float64), f(3).astype(np.int64)

Case: TypeAlias = tuple[str, str, tuple[Any, ...], dict[str, Any]]


def pooling(name: str) -> list[Case]:
    """What both poolings refuse."""
    return [
        ("input", name, (f(3, 4), 2), {}),
        ("input", name, (f(1, 1, 1, 3, 4), 2), {}),
        ("input", name, (f(2, 0, 6, 7), 2), {}),
        ("input", name, (f(2, 4, 0, 7), 2), {"padding": 1}),
        ("input", name, (IMAGE.astype(np.bool_), 2), {}),
        *(("kernel_size", name, (IMAGE, k), {}) for k in (0, -1, 8, (6, 8), 2.0, True, None)),
        *(("kernel_size", name, (IMAGE, k), {}) for k in ((2, 2, 2), "22")),
        *(("stride", name, (IMAGE, 2, s), {}) for s in (0, -1, (1, 0), 1.0, (1, 2, 3))),
        *(("padding", name, (IMAGE, 2, 2, p), {}) for p in (-1, 2, (0, 2), 0.5, None)),
        ("padding", name, (IMAGE, 3, 1, 2), {}),
        *(("ceil_mode", name, (IMAGE, 2), {"ceil_mode": c}) for c in (1, None, "no")),
    ]


def normalising(name: str) -> list[Case]:
    """What both softmaxes refuse."""
    return [
        ("input", name, (WHOLE, 0), {}),
        *(("dim", name, (f(3, 4), dim), {}) for dim in (2, -3, 1.0, "1")),
        ("dim", name, (np.float32(1), 1), {}),
    ]


def elementwise(name: str) -> list[Case]:
    """What every elementwise loss refuses."""
    return [
        ("target", name, (f(3, 2), f(3, 4)), {}),
        ("reduction", name, (f(3), f(3)), {"reduction": "average"}),
        ("reduction", name, (f(3), f(3)), {"reduction": None}),
        ("input", name, (WHOLE, WHOLE), {}),
    ]


def indexed(name: str) -> list[Case]:
    """What both losses of class indices refuse."""
    return [
        ("target", name, (f(3, 4), i(0, 1)), {}),
        ("target", name, (f(3, 4), np.zeros((3, 1), np.int64)), {}),
        ("target", name, (f(3, 4), np.int64(0)), {}),
        ("target", name, (f(3, 4, 2), i(0, 1, 2)), {}),
        ("target", name, (f(3, 4, 2), np.zeros((3, 2, 1), np.int64)), {}),
        ("target", name, (f(3, 4, 2, 5), np.zeros((3, 5, 2), np.int64)), {}),
        *(("target", name, (f(3, 4), i(0, 1, bad)), {}) for bad in (-1, 4, -99)),
        ("target", name, (f(3, 4), f(3)), {}),
        ("target", name, (f(3, 4), np.zeros(3, np.bool_)), {}),
        ("target", name, (f(3, 4), i(0, 1, -100)), {"ignore_index": 0}),
        ("weight", name, (f(3, 4), i(0, 1, 2)), {"weight": f(3)}),
        ("weight", name, (f(3, 4), i(0, 1, 2)), {"weight": f(1, 4)}),
        ("weight", name, (f(3, 4), i(0, 1, 2)), {"weight": f(4).astype(np.float16)}),
        ("input", name, (f(3, 4).astype(np.int64), i(0, 1, 2)), {}),
        ("input", name, (np.float32(0), np.int64(0)), {}),
        ("reduction", name, (f(3, 4), i(0, 1, 2)), {"reduction": "batchmean"}),
        ("ignore_index", name, (f(3, 4), i(0, 1, 2)), {"ignore_index": 0.5}),
    ]


REFUSED: list[Case] = [
    ("input", "linear", (np.float32(1), f(3)), {}),
    ("weight", "linear", (f(2, 3), f(4, 2)), {}),
    ("weight", "linear", (f(2, 3), f(2, 4, 3)), {}),
    ("weight", "linear", (f(2, 3), f(4, 3).astype(np.float16)), {}),
    ("bias", "linear", (f(2, 3), f(4, 3), f(3)), {}),
    ("bias", "linear", (f(2, 3), f(3), f(1)), {}),
    ("bias", "linear", (f(2, 3), f(4, 3), f(4).astype(np.float16)), {}),
    ("input", "conv2d", (f(6, 7), FILTERS), {}),
    ("input", "conv2d", (f(1, 2, 4, 6, 7), FILTERS), {}),
    ("input", "conv2d", (f(2, 3, 6, 7), FILTERS), {}),
    ("input", "conv2d", (f(2, 4, 0, 7), FILTERS), {"padding": 2}),
    ("weight", "conv2d", (IMAGE, f(6, 4, 3)), {}),
    ("weight", "conv2d", (IMAGE, f(0, 4, 3, 3)), {}),
    ("weight", "conv2d", (IMAGE, FILTERS.astype(np.float16)), {}),
    ("weight", "conv2d", (IMAGE, f(6, 4, 7, 3)), {}),
    ("weight", "conv2d", (IMAGE, FILTERS), {"dilation": (1, 4)}),
    ("bias", "conv2d", (IMAGE, FILTERS, f(1)), {}),
    ("bias", "conv2d", (IMAGE, FILTERS, f(6, 1)), {}),
    ("bias", "conv2d", (IMAGE, FILTERS, f(6).astype(np.float16)), {}),
    *(("stride", "conv2d", (IMAGE, FILTERS), {"stride": s}) for s in (0, -1, (1, 0), (1, 2, 3))),
    *(("stride", "conv2d", (IMAGE, FILTERS), {"stride": s}) for s in (1.0, True, "1", None)),
    *(("padding", "conv2d", (IMAGE, FILTERS), {"padding": p}) for p in (-1, (0, -1), "SAME", 0.5)),
    ("padding", "conv2d", (IMAGE, FILTERS), {"padding": ((1, 1), (1, 1))}),
    ("padding", "conv2d", (IMAGE, FILTERS), {"padding": "same", "stride": 2}),
    *(("dilation", "conv2d", (IMAGE, FILTERS), {"dilation": d}) for d in (0, -1, (1, 0), 1.5)),
    *(("groups", "conv2d", (IMAGE, FILTERS), {"groups": g}) for g in (0, -1, 1.0, True)),
    ("input", "conv2d", (IMAGE, FILTERS), {"groups": 3}),
    ("groups", "conv2d", (IMAGE, f(5, 2, 3, 3)), {"groups": 2}),
    *(case for name in ("max_pool2d", "avg_pool2d") for case in pooling(name)),
    *(("dilation", "max_pool2d", (IMAGE, 2), {"dilation": d}) for d in (0, -1, (1, 0), 1.0)),
    ("kernel_size", "max_pool2d", (IMAGE, 3), {"dilation": 9}),
    ("padding", "max_pool2d", (IMAGE, 3, 1, 2, 2), {}),
    *(("divisor_override", "avg_pool2d", (IMAGE, 2), {"divisor_override": d}) for d in (0, 2.5)),
    ("count_include_pad", "avg_pool2d", (IMAGE, 2), {"count_include_pad": 1}),
    ("input", "adaptive_avg_pool2d", (f(3, 4), 2), {}),
    ("input", "adaptive_avg_pool2d", (f(2, 4, 0, 7), 2), {}),
    ("input", "adaptive_avg_pool2d", (IMAGE.astype(np.int64), 2), {}),
    *(
        ("output_size", "adaptive_avg_pool2d", (IMAGE, o), {})
        for o in (-1, (1, -1), (1,), (1, 2, 3), 2.0, True, None)
    ),
    ("input", "relu", (f(3).astype(np.bool_),), {}),
    ("input", "leaky_relu", (WHOLE,), {}),
    ("negative_slope", "leaky_relu", (f(3), "steep"), {}),
    ("input", "gelu", (WHOLE,), {}),
    ("approximate", "gelu", (f(3),), {"approximate": "exact"}),
    *(case for name in ("softmax", "log_softmax") for case in normalising(name)),
    *(("start_dim", "flatten", (f(2, 3, 4), s), {}) for s in (3, -4, 1.0)),
    *(("end_dim", "flatten", (f(2, 3, 4), 0, e), {}) for e in (3, -4)),
    ("start_dim", "flatten", (f(2, 3, 4), 2, 1), {}),
    *(("p", "dropout", (f(3), p), {}) for p in (-0.1, 1.1, float("nan"))),
    ("p", "dropout", (f(3), 1.1, False), {}),
    ("input", "dropout", (WHOLE,), {}),
    *(
        case
        for name in (
            "l1_loss",
            "mse_loss",
            "smooth_l1_loss",
            "huber_loss",
            "kl_div",
            "binary_cross_entropy_with_logits",
        )
        for case in elementwise(name)
    ),
    *(
        ("weight", name, (f(2, 3), f(2, 3)), {"weight": f(*shape)})
        for name in ("l1_loss", "mse_loss", "huber_loss")
        for shape in [(3,), (1, 3), (2, 1), (1,), (), (1, 2, 3)]
    ),
    *(("beta", "smooth_l1_loss", (f(3), f(3)), {"beta": b}) for b in (-1, float("nan"), "1")),
    *(("delta", "huber_loss", (f(3), f(3)), {"delta": d}) for d in (0, -1, float("nan"), "1")),
    ("reduction", "l1_loss", (f(3), f(3)), {"reduction": "batchmean"}),
    ("target", "binary_cross_entropy_with_logits", (f(3, 1), f(3)), {}),
    ("target", "binary_cross_entropy_with_logits", (f(3), WHOLE), {}),
    *(
        (key, "binary_cross_entropy_with_logits", (f(3, 4), f(3, 4)), {key: f(*shape)})
        for key in ("weight", "pos_weight")
        for shape in [(3,), (2, 3, 4), (1, 3, 4), (2, 4)]
    ),
    ("target", "kl_div", (f(3), WHOLE), {}),
    *(case for name in ("nll_loss", "cross_entropy") for case in indexed(name)),
    ("label_smoothing", "cross_entropy", (f(3, 4), i(0, 1, 2)), {"label_smoothing": 1.1}),
    ("target", "cross_entropy", (f(3, 4), np.zeros((3, 4), np.int64)), {}),
    ("target", "cross_entropy", (f(3, 4), f(3, 5)), {}),
    ("target", "cross_entropy", (f(3, 4), f(1, 4)), {}),
    ("ignore_index", "cross_entropy", (f(3, 4), f(3, 4)), {"ignore_index": 1}),
]

FUSED = "conv2d_relu_max_pool2d"
REFUSED += [
    *(
        (argument, FUSED, args, {**kwargs, "pool_size": 2})
        for argument, name, args, kwargs in REFUSED
        if name == "conv2d"
    ),
    # The convolution's output is of 4 rows and 5 columns.
    *(
        ("pool_size", FUSED, (IMAGE, FILTERS), {"pool_size": size})
        for size in (0, -1, 5, (1, 6), 2.0, True, None, (2, 2, 2), "22")
    ),
]


@pytest.mark.parametrize(
    ("argument", "name", "args", "kwargs"),
    REFUSED,
    ids=[f"{name}-{argument}-{number}" for number, (argument, name, *_) in enumerate(REFUSED)],
)
def test_refused_by_both(
    argument: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """PyTorch raises something; fgrad raises a ValueError that begins with the argument's name."""
    as_tensors = [torch.tensor(a) if isinstance(a, np.ndarray | np.generic) else a for a in args]
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    theirs = torch_function(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)):
            theirs(*as_tensors, **options)
    if name == "dropout":
        kwargs = {**kwargs, "key": None}
    with pytest.raises(ValueError, match=rf"^{argument}: expected .+, got .+"):
        getattr(functional, name)(*args, **kwargs)
    with pytest.raises(ValueError, match=rf"^{argument}: expected .+, got .+"):
        getattr(functional, name)(
            *(jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in args), **kwargs
        )
