"""PyTorch's CPU random numbers from a seed, in NumPy: PyTorch is not needed.

`generator.py` has PyTorch's calls, `_twister.py` the 32-bit words that they draw, and `_draws.py`
the arithmetic from words to numbers.
"""

from fgrad.random.generator import Generator

__all__ = ["Generator"]
