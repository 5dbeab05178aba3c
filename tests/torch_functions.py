"""PyTorch's function of a name in `fgrad.functional`."""

from collections.abc import Callable
from typing import Any


def torch_function(name: str) -> Callable[..., Any]:
    """Return PyTorch's function, or the composition that a fused function stands for."""
    import torch

    functional = torch.nn.functional
    if name == "flatten":
        return torch.flatten
    if name != "conv2d_relu_max_pool2d":
        return getattr(functional, name)

    def composition(*args: Any, pool_size: Any, **kwargs: Any) -> torch.Tensor:
        return functional.max_pool2d(functional.relu(functional.conv2d(*args, **kwargs)), pool_size)

    return composition
