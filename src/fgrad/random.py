"""PyTorch's CPU random numbers from a seed, in NumPy: PyTorch is not needed."""

import math
import operator

import numpy as np
import numpy.typing as npt


class Generator:
    """PyTorch's CPU generator: the same seed gives the same numbers, call for call.

    It is the Mersenne Twister MT19937, and each call draws from it as the same call of PyTorch
    does. Nothing here is global: a program passes its generator along.

    Args:
        seed: What `torch.manual_seed(seed)` takes, an integer from -2^63 to 2^64 - 1.

    Raises:
        ValueError: If `seed` is outside that range.

    Example:
        >>> Generator(0).rand((3,))
        array([0.4962566 , 0.7682218 , 0.08847743], dtype=float32)

    Source: `torch.Generator`, `torch.manual_seed`.
    """

    def __init__(self, seed: int) -> None:
        """Seed the generator, as `torch.manual_seed` does."""
        seed = operator.index(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed: expected an integer from -2**63 to 2**64 - 1, got {seed}")
        # PyTorch keeps the low 32 bits, and seeds the twister as NumPy's RandomState does.
        self._bits = np.random.MT19937()
        state = self._bits.state
        state["state"] = {
            "key": np.random.RandomState(seed % 2**32).get_state(legacy=False)["state"]["key"],
            "pos": 624,
        }
        self._bits.state = state

    def rand(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Return float32 numbers uniform in [0, 1).

        Args:
            shape: The shape of the result.

        Returns:
            `torch.rand(shape)`.

        Example:
            >>> Generator(1).rand((1, 2))
            array([[0.7576316 , 0.27931088]], dtype=float32)
        """
        return self.uniform(shape, 0.0, 1.0)

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> npt.NDArray[np.float32]:
        """Return float32 numbers uniform in [low, high).

        Args:
            shape: The shape of the result.
            low: The lower end.
            high: The upper end.

        Returns:
            `torch.empty(shape).uniform_(low, high)`.

        Raises:
            ValueError: If `low` is above `high`.

        Example:
            >>> Generator(0).uniform((2,), -1.0, 1.0)
            array([-0.00748682,  0.5364436 ], dtype=float32)
        """
        if not low <= high:
            raise ValueError(f"low: expected at most high, {high}, got {low}")
        # 24 random bits make a float32. The scaling rounds once, as a fused multiply-add does:
        # in float64 it is exact.
        unit = (self._bits.random_raw(math.prod(shape)) & 0xFFFFFF) * 2.0**-24
        start, stop = np.float32(low), np.float32(high)
        scaled = unit * np.float64(stop - start) + np.float64(start)
        return scaled.astype(np.float32).reshape(shape)
