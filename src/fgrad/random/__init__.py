"""PyTorch's CPU random numbers from a seed, in NumPy: PyTorch is not needed.

`generator.py` has PyTorch's calls, `_twister.py` the 32-bit words that they draw, and `_draws.py`
the arithmetic from words to numbers.
"""

from typing import TypeAlias

from fgrad.random.generator import Generator
from fgrad.types import Array

__all__ = ["Generator", "Rng"]

Rng: TypeAlias = Generator | Array
"""`fgrad.random.Generator(seed)` for PyTorch's bits, or a `jax.random.key`."""
