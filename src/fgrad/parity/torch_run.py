"""A PyTorch model and its optimizer making steps, with all that they compute kept."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from fgrad.parity.recording import NumPy, numbered
from fgrad.parity.trees import Tree, flatten, unflatten

if TYPE_CHECKING:
    import torch

Masks: TypeAlias = list[tuple[str, float, Any]]
"""Dropout's calls: the place, the probability, and the tensor of what was kept."""


class Run:
    """A copy of a model and its optimizer, in one precision.

    Args:
        model: The model.
        optimizer: Its optimizer.
        dtype: The precision.
    """

    def __init__(
        self, model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", dtype: str
    ) -> None:
        """Copy both."""
        import torch

        # Together, so that the optimizer's copy holds the copy's parameters.
        self.model, self.optimizer = copy.deepcopy((model, optimizer))
        self.dtype = dtype
        self.model.to(getattr(torch, dtype))
        for state in self.optimizer.state.values():
            for key, value in state.items():
                if torch.is_tensor(value) and value.is_floating_point() and key != "step":
                    state[key] = value.to(getattr(torch, dtype))

    def copy(self, dtype: str) -> "Run":
        """Return a copy in a precision."""
        return Run(self.model, self.optimizer, dtype)

    def state(self) -> dict[str, NumPy]:
        """Return the model's state_dict."""
        return {name: to_numpy(value) for name, value in self.model.state_dict().items()}

    def step(
        self,
        loss: Callable[..., "torch.Tensor"],
        batch: tuple[Any, Any],
        masks: Masks,
        *,
        draw: bool = False,
    ) -> tuple[dict[str, NumPy], list[dict[str, Any]], Any]:
        """Make a step; return every value by name, the calls, and the output's structure."""
        import torch

        x, target = (_map(lambda leaf: cast(leaf, self.dtype), part) for part in batch)
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, NumPy] = {}
        with _watched(self.model, values) as (calls, stack), _dropout(masks, stack, draw=draw):
            output = _call(self.model, x)
            value = loss(output, target)
        if not torch.is_tensor(value) or value.shape != () or not value.is_floating_point():
            got = f"shape {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__
            raise ValueError(f"loss: expected a floating-point scalar tensor, got {got}")
        torch.autograd.backward(value)
        values["loss"] = to_numpy(value)
        for name, parameter in self.model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            values[f"gradient/{name}"] = to_numpy(gradient)
        try:
            self.optimizer.step()
        except TypeError as error:
            raise ValueError(
                f"optimizer: expected one whose step takes no closure, got {error}"
            ) from error
        for name, parameter in self.model.named_parameters():
            for key, buffer in self.optimizer.state.get(parameter, {}).items():
                if torch.is_tensor(buffer):
                    values[f"optimizer/{name}/{key}"] = to_numpy(buffer)
        values |= {f"after/{name}": value for name, value in self.state().items()}
        return values, calls, flatten(output, torch.is_tensor)[1]

    def perturbed_step(
        self,
        loss: Callable[..., "torch.Tensor"],
        batch: tuple[Any, Any],
        masks: Masks,
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
        pair = _map(lambda leaf: _perturbed(cast(leaf, self.dtype), generator), batch)
        return self.step(loss, pair, masks)[0]


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
            given.append([to_numpy(leaf) for leaf in flatten((args, kwargs), torch.is_tensor)[0]])

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(_: object, args: Tree, kwargs: Tree, output: Tree) -> None:
            stack.pop()
            place = numbered(name or "output", counts)
            at = f"forward/{len(calls)}"
            inputs = given.pop()
            outputs = [to_numpy(leaf) for leaf in flatten(output, torch.is_tensor)[0]]
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


@contextlib.contextmanager
def _dropout(masks: Masks, stack: list[str], *, draw: bool) -> Iterator[None]:
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


def cast(tensor: "torch.Tensor", dtype: str) -> "torch.Tensor":
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


def to_numpy(tensor: "torch.Tensor") -> NumPy:
    """Return a copy of a tensor."""
    return tensor.detach().cpu().clone().numpy()
