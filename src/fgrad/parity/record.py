"""Run a PyTorch training loop, and write down all of it."""

import contextlib
import copy
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fgrad.parity.recording import Arrays, NumPy, write
from fgrad.parity.trees import Tree, flatten, unflatten

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
        >>> import jax.numpy as jnp, optax, tempfile
        >>> from fgrad import parity
        >>> model = torch.nn.Linear(3, 1)
        >>> batches = [(torch.randn(8, 3), torch.randn(8, 1))]
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def apply(params, x):
        ...     return x @ params["weight"].T + params["bias"]
        >>> def loss(output, target):
        ...     return jnp.mean((output - target) ** 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/line.safetensors"
        ...     parity.record(model, torch.nn.MSELoss(), optimizer, batches, path=path, steps=3)
        ...     report = parity.check(path, apply, loss, optax.sgd(0.1))
        >>> report.ok, report.first
        (True, None)

    Source: `torch.nn.Module.register_forward_hook`, `torch.optim.Optimizer.state`.
    """
    import torch

    pairs = _checked_batches(batches)
    count = _checked_steps(steps, len(pairs))
    _check_model(model, optimizer)
    arrays = Arrays()
    main = _Run(model, optimizer, "float32")
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
                arrays.add(f"batch/{i}/{part}/{j}", _numpy(_cast(leaf, "float32")))
    facts: dict[str, Any] = _facts(model, loss, optimizer) | {"batches": specs, "steps": []}
    with torch.random.fork_rng(), torch.enable_grad():
        for i in range(count):
            if progress is not None:
                progress(i, count, f"step {i}")
            index = i % len(pairs)
            starts = {dtype: run.copy(dtype) for dtype, run in runs.items()}
            masks: list[tuple[str, float, torch.Tensor]] = []
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
                arrays.add(f"mask/{i}/{j}", _numpy(kept))
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


class _Run:
    """A copy of a model and its optimizer, in one precision."""

    def __init__(
        self, model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", dtype: str
    ) -> None:
        import torch

        # Together, so that the optimizer's copy holds the copy's parameters.
        self.model, self.optimizer = copy.deepcopy((model, optimizer))
        self.dtype = dtype
        self.model.to(getattr(torch, dtype))
        for state in self.optimizer.state.values():
            for key, value in state.items():
                if torch.is_tensor(value) and value.is_floating_point() and key != "step":
                    state[key] = value.to(getattr(torch, dtype))

    def copy(self, dtype: str) -> "_Run":
        return _Run(self.model, self.optimizer, dtype)

    def state(self) -> dict[str, NumPy]:
        return {name: _numpy(value) for name, value in self.model.state_dict().items()}

    def step(
        self,
        loss: Callable[..., "torch.Tensor"],
        batch: tuple[Any, Any],
        masks: list[tuple[str, float, "torch.Tensor"]],
        *,
        draw: bool = False,
    ) -> tuple[dict[str, NumPy], list[dict[str, Any]], Any]:
        """Make a step; return every value by name, the calls, and the output's structure."""
        import torch

        x, target = (_map(lambda leaf: _cast(leaf, self.dtype), part) for part in batch)
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, NumPy] = {}
        with _watched(self.model, values) as (calls, stack), _dropout(masks, stack, draw=draw):
            output = _call(self.model, x)
            value = loss(output, target)
        if not torch.is_tensor(value) or value.shape != () or not value.is_floating_point():
            got = f"shape {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__
            raise ValueError(f"loss: expected a floating-point scalar tensor, got {got}")
        torch.autograd.backward(value)
        values["loss"] = _numpy(value)
        for name, parameter in self.model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            values[f"gradient/{name}"] = _numpy(gradient)
        try:
            self.optimizer.step()
        except TypeError as error:
            raise ValueError(
                f"optimizer: expected one whose step takes no closure, got {error}"
            ) from error
        for name, parameter in self.model.named_parameters():
            for key, buffer in self.optimizer.state.get(parameter, {}).items():
                if torch.is_tensor(buffer):
                    values[f"optimizer/{name}/{key}"] = _numpy(buffer)
        values |= {f"after/{name}": value for name, value in self.state().items()}
        return values, calls, flatten(output, torch.is_tensor)[1]

    def perturbed_step(
        self,
        loss: Callable[..., "torch.Tensor"],
        batch: tuple[Any, Any],
        masks: list[tuple[str, float, "torch.Tensor"]],
        generator: "torch.Generator",
    ) -> dict[str, NumPy]:
        """Move every number by up to its last bit, and make a step."""
        import torch

        tensors = [*self.model.parameters(), *self.model.buffers()]
        tensors += [
            value
            for state in self.optimizer.state.values()
            for key, value in state.items()
            if torch.is_tensor(value) and key != "step"
        ]
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(_perturbed(tensor, generator))
        pair = _map(lambda leaf: _perturbed(_cast(leaf, self.dtype), generator), batch)
        return self.step(loss, pair, masks)[0]


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
    again: _Run,
    loss: Callable[..., "torch.Tensor"],
    batch: tuple[Any, Any],
    masks: list[tuple[str, float, "torch.Tensor"]],
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


@contextlib.contextmanager
def _watched(
    model: "torch.nn.Module", values: dict[str, NumPy]
) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Keep the inputs and outputs of every call; the names of the modules that run are a stack."""
    import torch

    calls: list[dict[str, Any]] = []
    stack: list[str] = []
    given: list[list[NumPy]] = []
    counts: dict[str, int] = {}

    def enter(name: str) -> Callable[..., None]:
        def hook(_: object, args: Tree, kwargs: Tree) -> None:
            stack.append(name)
            # Copied now, since a module may work in place.
            given.append([_numpy(leaf) for leaf in flatten((args, kwargs), torch.is_tensor)[0]])

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(_: object, args: Tree, kwargs: Tree, output: Tree) -> None:
            stack.pop()
            place = numbered(name or "output", counts)
            at = f"forward/{len(calls)}"
            inputs = given.pop()
            outputs = [_numpy(leaf) for leaf in flatten(output, torch.is_tensor)[0]]
            values.update({f"{at}/input/{j}": leaf for j, leaf in enumerate(inputs)})
            values.update({f"{at}/output/{j}": leaf for j, leaf in enumerate(outputs)})
            sizes = {"inputs": len(inputs), "outputs": len(outputs)}
            calls.append({"place": place, "module": name, **sizes})

        return hook

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
        handles.append(module.register_forward_hook(leave(name), with_kwargs=True))
    try:
        yield calls, stack
    finally:
        for handle in handles:
            handle.remove()


def numbered(name: str, counts: dict[str, int]) -> str:
    """Return `name`, with `#1`, `#2`, ... from its second time on, counting in `counts`.

    Example:
        >>> counts = {}
        >>> [numbered("fc", counts) for _ in range(3)]
        ['fc', 'fc#1', 'fc#2']
    """
    counts[name] = counts.get(name, -1) + 1
    return f"{name}#{counts[name]}" if counts[name] else name


@contextlib.contextmanager
def _dropout(
    masks: list[tuple[str, float, "torch.Tensor"]], stack: list[str], *, draw: bool
) -> Iterator[None]:
    """Draw dropout's masks as PyTorch does and keep them, or use those that were kept."""
    import torch

    original = torch.nn.functional.dropout
    counts: dict[str, int] = {}
    kept = iter(list(masks))

    def dropout(
        input: "torch.Tensor", p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> "torch.Tensor":
        if not training or p == 0:
            return original(input, p, training, inplace)
        if draw:
            mask = original(torch.ones_like(input), p, training=True) != 0
            masks.append((numbered(stack[-1] or "output", counts), p, mask))
        else:
            _, _, mask = next(kept)
        factor = mask.to(input.dtype) * (0.0 if p == 1 else 1 / (1 - p))
        return input.mul_(factor) if inplace else input * factor

    torch.nn.functional.dropout = dropout
    try:
        yield
    finally:
        torch.nn.functional.dropout = original


def _call(model: "torch.nn.Module", x: Tree) -> Tree:
    if isinstance(x, dict):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def _map(function: Callable[[Any], Any], value: Tree) -> Tree:
    import torch

    leaves, spec = flatten(value, torch.is_tensor)
    return unflatten(map(function, leaves), spec)


def _cast(tensor: "torch.Tensor", dtype: str) -> "torch.Tensor":
    """Return floating-point numbers in `dtype`, rounded to float32 first."""
    import torch

    if not tensor.is_floating_point():
        return tensor.detach()
    return tensor.detach().to(torch.float32).to(getattr(torch, dtype))


def _perturbed(tensor: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
    import torch

    if not tensor.is_floating_point():
        return tensor
    eps = torch.finfo(tensor.dtype).eps
    factor = 1 + (2 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 1) * eps
    return tensor * factor.to(tensor.device)


def _numpy(tensor: "torch.Tensor") -> NumPy:
    return tensor.detach().cpu().clone().numpy()


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
