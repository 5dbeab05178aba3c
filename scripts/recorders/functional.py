"""What PyTorch makes of its functional layers and losses, outputs and gradients."""

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch


class Case(NamedTuple):
    """One call: the function, its array arguments, those not differentiated, and the others."""

    name: str
    arrays: dict[str, npt.NDArray[Any]]
    options: dict[str, Any]
    constants: tuple[str, ...] = ()


def record(folder: Path) -> None:
    """Write functional.npz: every case in float64 and float32."""
    entries: dict[str, npt.NDArray[Any]] = {}
    cases: list[dict[str, Any]] = []
    for dtype in ("float64", "float32"):
        for case in functional_cases():
            prefix = f"{len(cases)}"
            arrays = {
                key: value.astype(dtype) if value.dtype.kind == "f" else value
                for key, value in case.arrays.items()
            }
            entries |= {f"{prefix}/argument/{key}": value for key, value in arrays.items()}
            entries |= {
                f"{prefix}/{key}": value for key, value in run(case._replace(arrays=arrays)).items()
            }
            cases.append({"name": case.name, "dtype": dtype, "options": case.options})
    versions = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    entries["index"] = np.array(json.dumps({"versions": versions, "cases": cases}))
    np.savez_compressed(folder / "functional.npz", allow_pickle=False, **entries)


def run(case: Case) -> dict[str, npt.NDArray[Any]]:
    """Return PyTorch's output, a cotangent, and the gradients against it."""
    function = FUNCTIONS.get(case.name) or getattr(torch.nn.functional, case.name)
    tensors = {key: torch.tensor(value) for key, value in case.arrays.items()}
    varied = [
        key
        for key, value in tensors.items()
        if value.is_floating_point() and key not in case.constants
    ]
    for key in varied:
        tensors[key].requires_grad_()
    output = function(**tensors, **case.options)
    rng = np.random.default_rng(1)
    cotangent = torch.tensor(rng.uniform(-1, 1, tuple(output.shape)), dtype=output.dtype)
    grads = torch.autograd.grad(output, [tensors[key] for key in varied], cotangent)
    return {
        "output": output.detach().numpy(),
        "cotangent": cotangent.numpy(),
        **{f"grad/{key}": grad.numpy() for key, grad in zip(varied, grads, strict=True)},
    }


def conv2d_relu_max_pool2d(
    *args: torch.Tensor, pool_size: int | list[int], **options: object
) -> torch.Tensor:
    """Return what fgrad's function of that name stands for."""
    functional = torch.nn.functional
    conv2d: Callable[..., torch.Tensor] = functional.conv2d
    outputs = conv2d(*args, **options)
    return functional.max_pool2d(functional.relu(outputs), pool_size)


# What is not in torch.nn.functional.
FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "conv2d_relu_max_pool2d": conv2d_relu_max_pool2d,
    "flatten": torch.flatten,
}


def functional_cases() -> Iterator[Case]:
    """Yield a few calls of every function: each argument, and each kink."""
    rng = np.random.default_rng(0)
    options: dict[str, Any]

    def normal(*shape: int) -> npt.NDArray[np.float64]:
        return rng.standard_normal(shape)

    def ties(*shape: int) -> npt.NDArray[np.float64]:
        return rng.integers(-1, 2, shape).astype(np.float64)

    def uniform(*shape: int) -> npt.NDArray[np.float64]:
        return rng.uniform(0.05, 1, shape)

    yield Case("linear", {"input": normal(2, 3, 4), "weight": normal(5, 4)}, {})
    yield Case("linear", {"input": normal(3, 4), "weight": normal(5, 4), "bias": normal(5)}, {})
    convolutions: list[dict[str, Any]] = [
        {},
        {"stride": 2, "padding": 1},
        {"stride": [2, 1], "padding": [0, 2], "dilation": [1, 2]},
        {"padding": "same", "dilation": 2},
        {"padding": "valid", "groups": 2},
    ]
    for options in convolutions:
        weight = normal(4, 4 // options.get("groups", 1), 3, 2)
        arrays = {"input": normal(2, 4, 7, 6), "weight": weight, "bias": normal(4)}
        yield Case("conv2d", arrays, options)
    yield Case("conv2d", {"input": normal(2, 5, 5), "weight": normal(3, 2, 3, 3)}, {})
    for options in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": [2, 3], "stride": [1, 2]},
    ):
        yield Case("max_pool2d", {"input": ties(2, 2, 6, 7)}, options)
        yield Case("avg_pool2d", {"input": normal(2, 2, 6, 7)}, options)
    low = np.full((1, 3, 3), -np.inf)
    yield Case("max_pool2d", {"input": low}, {"kernel_size": 3, "stride": 1, "padding": 1})
    yield Case("max_pool2d", {"input": ties(2, 7, 7)}, {"kernel_size": 2, "dilation": 2})
    padded = {"kernel_size": 3, "stride": 2, "padding": 1}
    yield Case("avg_pool2d", {"input": normal(2, 6, 7)}, {**padded, "count_include_pad": False})
    yield Case("avg_pool2d", {"input": normal(2, 6, 7)}, {**padded, "divisor_override": 5})
    for output_size in (1, [3, 4], [None, 9]):
        yield Case("adaptive_avg_pool2d", {"input": normal(2, 6, 7)}, {"output_size": output_size})

    edges = np.array([-np.inf, -60.0, -1.0, -0.0, 0.0, 0.3, 1.0, 60.0])
    for name, options in (
        ("relu", {}),
        ("leaky_relu", {}),
        ("leaky_relu", {"negative_slope": 0.2}),
        ("sigmoid", {}),
        ("tanh", {}),
        ("gelu", {}),
        ("gelu", {"approximate": "tanh"}),
    ):
        yield Case(name, {"input": edges}, options)
    for name in ("softmax", "log_softmax"):
        for dim in (0, -1):
            yield Case(name, {"input": 3 * normal(3, 4)}, {"dim": dim})
    yield Case("flatten", {"input": normal(2, 3, 4)}, {"start_dim": 1})

    errors = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, np.inf])
    for reduction in ("none", "mean", "sum"):
        chosen = {"reduction": reduction}
        for name, options in (
            ("l1_loss", {}),
            ("mse_loss", {}),
            ("smooth_l1_loss", {}),
            ("smooth_l1_loss", {"beta": 0.5}),
            ("huber_loss", {}),
            ("huber_loss", {"delta": 0.5}),
        ):
            arrays = {"input": errors + 2, "target": np.full(errors.shape, 2.0)}
            yield Case(name, arrays, {**chosen, **options})
            empty = {"input": normal(0, 2), "target": normal(0, 2)}
            yield Case(name, empty, {**chosen, **options})
        for name in ("l1_loss", "mse_loss", "huber_loss"):
            arrays = {"input": normal(5), "target": normal(5), "weight": uniform(5)}
            yield Case(name, arrays, chosen)

        classes = np.array([0, 3, 2, 1])
        pixels = rng.integers(0, 3, (2, 3, 2))
        weights = {"weight": uniform(4)}
        for name in ("nll_loss", "cross_entropy"):
            scores = {"input": normal(4, 4), "target": classes}
            yield Case(name, {**scores, "target": np.where(classes == 2, -100, classes)}, chosen)
            yield Case(name, {**scores, **weights}, {**chosen, "ignore_index": 3}, ("weight",))
            yield Case(name, {"input": normal(2, 3, 3, 2), "target": pixels}, chosen)
        smooth = {**chosen, "label_smoothing": 0.1}
        yield Case("cross_entropy", {**scores, **weights}, smooth, ("weight",))
        probabilities = {"input": normal(3, 4), "target": uniform(3, 4)}
        yield Case("cross_entropy", probabilities, chosen)
        yield Case("cross_entropy", {**probabilities, **weights}, smooth, ("weight",))

        logits = np.array([-200.0, -20.0, 0.0, 20.0, 200.0])
        for target in (0.0, 0.3, 1.0):
            arrays = {"input": logits, "target": np.full(5, target)}
            yield Case("binary_cross_entropy_with_logits", arrays, chosen)
        arrays |= {"weight": uniform(5), "pos_weight": uniform(1)}
        constants = ("weight", "pos_weight")
        yield Case("binary_cross_entropy_with_logits", arrays, chosen, constants)
    for reduction in ("none", "batchmean", "sum"):
        for log_target in (False, True):
            arrays = {"input": np.log(uniform(2, 4)), "target": uniform(2, 4)}
            options = {"reduction": reduction, "log_target": log_target}
            yield Case("kl_div", arrays, options)
    # Last, so that the numbers drawn above stay what they are.
    for draw, options in (
        (normal, {"pool_size": 2}),
        (ties, {"pool_size": [2, 1], "padding": "same"}),
        (ties, {"pool_size": [1, 3], "stride": [1, 2], "padding": [0, 2]}),
        (ties, {"pool_size": 2, "dilation": 2}),
    ):
        arrays = {"input": draw(2, 3, 8, 9), "weight": draw(4, 3, 3, 3), "bias": draw(4)}
        yield Case("conv2d_relu_max_pool2d", arrays, options)
