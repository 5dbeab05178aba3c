"""PyTorch's initialisation: the defaults of its layers, and the families of `nn.init`.

Every function takes as `rng` a `fgrad.random.Generator`, which it advances, for PyTorch's bits, or
a `jax.random.key` for the same distribution.
"""

from fgrad.init.families import (
    calculate_gain,
    kaiming_normal,
    kaiming_uniform,
    normal,
    uniform,
    xavier_normal,
    xavier_uniform,
)
from fgrad.init.layers import conv2d, linear

__all__ = [
    "calculate_gain",
    "conv2d",
    "kaiming_normal",
    "kaiming_uniform",
    "linear",
    "normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]
