"""Run a PyTorch training loop, and write down all of it."""

import os
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fgrad.parity.recording import Arrays, NumPy, write
from fgrad.parity.torch_run import Masks, Run, cast, to_numpy
from fgrad.parity.trees import flatten

if TYPE_CHECKING:
    import torch

Progress: TypeAlias = Callable[[int, int, str], object]
"""Called with how much is done, of how much, and what comes next."""


# Runs whose numbers are moved by a rounding error each: how far their results move is what a
# precision can tell apart, also where PyTorch's own rounding errors happen to cancel.
_PERTURBED = 2


def record(
    model: "torch.nn.Module",
    loss: Callable[..., "torch.Tensor"],
    optimizer: "torch.optim.Optimizer",
    batches: Iterable[tuple[Any, Any]],
    *,
    path: str | os.PathLike[str],
    steps: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Run a PyTorch model and optimizer, and write one file for `check`.

    Each step is the usual one: `loss(model(x), target).backward()`, then `optimizer.step()`. The
    file has the initial state_dict, the batches, and for each step every module's inputs and
    outputs in call order, the loss, every gradient, the optimizer's buffers and the new weights;
    in float32, and again in float64 from the same weights and batches. How far rounding moves each
    value is measured besides: against float64, and against runs whose numbers are all moved by
    their last bit. Dropout's masks are drawn once from PyTorch's generator and recorded.

    Args:
        model: Any module, in the mode to record (`train()` or `eval()`). It stays as it is.
        loss: `loss(output, target) -> scalar`: a criterion such as `nn.CrossEntropyLoss()`.
        optimizer: Over `model.parameters()`; it stays as it is.
        batches: Pairs `(x, target)` of tensors, each a tensor or a tuple or dict of them: a
            `DataLoader`, or a list. A tuple is given to the model as `model(*x)`, a dict as
            `model(**x)`.
        path: The file to write.
        steps: How many steps; the batches come again from the first when they are through. By
            default one step for each batch.
        progress: Called as `progress(done, total, what)`.

    Raises:
        ValueError: If the model has no parameters or does not compute the same twice, the optimizer
            has other parameters or has made steps, `steps` is below 1, there are no batches, or the
            loss is no scalar.
        OSError: If the file cannot be written.

    Example:
        >>> import pytest
        >>> torch = pytest.importorskip("torch")
        >>> import optax, tempfile
        >>> from fgrad import functional as F
        >>> from fgrad import parity
        >>> model = torch.nn.Linear(3, 1)
        >>> batches = [(torch.randn(8, 3), torch.randn(8, 1))]
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def apply(params, x):
        ...     return F.linear(x, params["weight"], params["bias"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/line.safetensors"
        ...     parity.record(model, torch.nn.MSELoss(), optimizer, batches, path=path, steps=3)
        ...     report = parity.check(path, apply, F.mse_loss, optax.sgd(0.1))
        >>> report.ok, report.first
        (True, None)

    Source: `torch.nn.Module.register_forward_hook`, `torch.optim.Optimizer.state`.
    """
    import torch

    pairs = _checked_batches(batches)
    count = _checked_steps(steps, len(pairs))
    _check_model(model, optimizer)
    arrays = Arrays()
    main = Run(model, optimizer, "float32")
    runs = {"float32": main, "float64": main.copy("float64")}
    wanderers = {dtype: run.copy(dtype) for dtype, run in runs.items()}
    drifts: dict[str, dict[str, float]] = {dtype: {} for dtype in runs}
    generator = torch.Generator().manual_seed(0)
    for name, value in main.state().items():
        arrays.add(f"initial/{name}", value)
    specs: list[list[Any]] = []
    for i, pair in enumerate(pairs):
        specs.append([])
        for part, value in zip(("x", "target"), pair, strict=True):
            leaves, spec = flatten(value, torch.is_tensor)
            specs[-1].append([len(leaves), spec])
            for j, leaf in enumerate(leaves):
                arrays.add(f"batch/{i}/{part}/{j}", to_numpy(cast(leaf, "float32")))
    facts: dict[str, Any] = _facts(model, loss, optimizer) | {"batches": specs, "steps": []}
    with torch.random.fork_rng(), torch.enable_grad():
        for i in range(count):
            if progress is not None:
                progress(i, count, f"step {i}")
            index = i % len(pairs)
            starts = {dtype: run.copy(dtype) for dtype, run in runs.items()}
            masks: Masks = []
            values, calls, output = main.step(loss, pairs[index], masks, draw=True)
            if i == 0:
                again = starts["float32"].copy("float32")
                _check_deterministic(again, loss, pairs[index], masks, values)
            exact, *_ = runs["float64"].step(loss, pairs[index], masks)
            restarted, *_ = starts["float32"].copy("float64").step(loss, pairs[index], masks)
            noises: dict[str, dict[str, float]] = {dtype: {} for dtype in runs}
            for dtype, truth in (("float32", restarted), ("float64", exact)):
                for _ in range(_PERTURBED):
                    moved = starts[dtype].copy(dtype)
                    found = moved.perturbed_step(loss, pairs[index], masks, generator)
                    _widen(noises[dtype], found, truth)
                # And one that goes on from where it came to.
                found = wanderers[dtype].perturbed_step(loss, pairs[index], masks, generator)
                _widen(drifts[dtype], found, exact)
            for measured, truth in ((noises, restarted), (drifts, exact)):
                _leave_jumps_out(measured)
                _widen(measured["float32"], values, truth)
            for dtype, results in (("float32", values), ("float64", exact)):
                for name, value in results.items():
                    arrays.add(f"{dtype}/{i}/{name}", value)
            for j, (_, _, kept) in enumerate(masks):
                arrays.add(f"mask/{i}/{j}", to_numpy(kept))
            buffers: dict[str, list[str]] = {}
            for name in values:
                if name.startswith("optimizer/"):
                    _, parameter, key = name.split("/")
                    buffers.setdefault(parameter, []).append(key)
            facts["steps"].append(
                {
                    "batch": index,
                    "calls": calls,
                    "output": output,
                    "buffers": buffers,
                    "masks": [{"place": place, "p": p} for place, p, _ in masks],
                    "noise": noises,
                    "drift": {dtype: dict(drift) for dtype, drift in drifts.items()},
                }
            )
    write(path, arrays, facts)
    if progress is not None:
        progress(count, count, "written")


def _widen(
    noise: dict[str, float], found: Mapping[str, Any], truth: Mapping[str, NumPy] | None = None
) -> None:
    """Let the noise of each value be at least its distance from the truth, or another noise."""
    for name, value in found.items():
        distance = value if truth is None else _distance(value, truth[name])
        noise[name] = max(noise.get(name, 0.0), distance)


def _leave_jumps_out(noises: dict[str, dict[str, float]]) -> None:
    """Let a value count as exact that leaps by the last bit in float64 as well.

    Such a value is on a kink or a tie: at a relu of exactly 0, or where two maxima are equal. That
    is no rounding, which would be 2^29 times smaller than in float32.
    """
    for name, double in noises["float64"].items():
        if double > 2.0**-18 * noises["float32"][name]:
            noises["float32"][name] = noises["float64"][name] = 0.0


def _distance(value: NumPy, other: NumPy) -> float:
    with np.errstate(invalid="ignore"):
        difference = np.abs(value.astype(np.float64) - other.astype(np.float64))
    return float(np.max(difference, initial=0.0, where=np.isfinite(difference)))


def _check_deterministic(
    again: Run,
    loss: Callable[..., "torch.Tensor"],
    batch: tuple[Any, Any],
    masks: Masks,
    values: dict[str, NumPy],
) -> None:
    """Refuse a model that draws random numbers other than dropout's."""
    others, calls, _ = again.step(loss, batch, masks)
    for name, value in values.items():
        if name not in others or not np.array_equal(value, others[name], equal_nan=True):
            at = name.split("/")
            place = calls[int(at[1])]["place"] if at[0] == "forward" else name
            raise ValueError(
                "model: expected the same values from the same inputs, got others in a second run, "
                f"first at {place}; of random numbers, dropout's alone are recorded"
            )


def _checked_batches(batches: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    import torch

    pairs = []
    for i, pair in enumerate(batches):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"batches: expected pairs (x, target), got {type(pair).__name__} {i}")
        for name, part in zip(("x", "target"), pair, strict=True):
            leaves, _ = flatten(part, torch.is_tensor)
            if not any(leaf.numel() for leaf in leaves):
                raise ValueError(f"batches: expected tensors, got none in {name} of batch {i}")
        x, target = pair
        pairs.append((tuple(x) if isinstance(x, list) else x, target))
    if not pairs:
        raise ValueError("batches: expected at least one pair (x, target), got none")
    return pairs


def _checked_steps(steps: int | None, default: int) -> int:
    if steps is None:
        return default
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps: expected an integer of 1 or more, got {steps!r}")
    return steps


def _check_model(model: "torch.nn.Module", optimizer: "torch.optim.Optimizer") -> None:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ValueError("model: expected at least one parameter, got none")
    for name, parameter in parameters.items():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"model: expected float32 or float64, got {name} in {parameter.dtype}")
    # Some have buffers from the start, and count their steps.
    if any(state.get("step", 1) > 0 for state in optimizer.state.values()):
        raise ValueError("optimizer: expected one that has made no step yet, got one with buffers")
    names = {id(parameter): name for name, parameter in parameters.items()}
    optimized = [p for group in optimizer.param_groups for p in group["params"]]
    if any(id(p) not in names for p in optimized):
        raise ValueError("optimizer: expected parameters of the model, got others")


def _facts(
    model: "torch.nn.Module",
    loss: Callable[..., "torch.Tensor"],
    optimizer: "torch.optim.Optimizer",
) -> dict[str, Any]:
    import torch

    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tied = {
        name: names[id(parameter)]
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if names[id(parameter)] != name
    }
    is_module = isinstance(loss, torch.nn.Module)
    return {
        "state": list(model.state_dict()),
        "parameters": list(names.values()),
        "frozen": [name for name, value in model.named_parameters() if not value.requires_grad],
        "tied": tied,
        "modules": {
            name: {"kind": type(module).__name__, "config": _config(vars(module))}
            for name, module in model.named_modules()
        },
        "loss": {
            "kind": type(loss).__name__ if is_module else getattr(loss, "__name__", "function"),
            "config": _config(vars(loss)) if is_module else {},
        },
        "optimizer": {
            "kind": type(optimizer).__name__,
            "groups": [
                {
                    "names": [names[id(parameter)] for parameter in group["params"]],
                    "options": _config(group),
                }
                for group in optimizer.param_groups
            ],
        },
        "settings": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "device": str(next(model.parameters()).device),
            "threads": torch.get_num_threads(),
            "matmul precision": torch.get_float32_matmul_precision(),
            "mode": "train" if model.training else "eval",
        },
    }


def _config(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are numbers, words, or tuples of numbers."""

    def is_plain(value: object) -> bool:
        if isinstance(value, tuple | list):
            return all(isinstance(item, int | float | str) for item in value)
        return value is None or isinstance(value, bool | int | float | str)

    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in settings.items()
        if not key.startswith("_") and is_plain(value)
    }
