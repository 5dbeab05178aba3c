"""The generator: a PyTorch call in, the same numbers out."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from fgrad import _checks
from fgrad.random import _draws
from fgrad.random._draws import Floats
from fgrad.random._twister import Twister

# What is made at a time, in bytes: it fits in the processor's cache. A multiple of 16 numbers.
_CHUNK: Final = 2**16


class Generator:
    """PyTorch's CPU generator: the same seed gives the same numbers, call for call.

    It is the Mersenne Twister MT19937, and each call draws from it as the same call of PyTorch
    does, so that calls may follow one another in any order and size. Nothing here is global: a
    program passes its generator along. Every number is PyTorch's to the last bit but those of
    `randn` and `normal` in calls for 16 or more, which come from standard normal numbers within
    3 ULP of PyTorch's: there its own logarithm and cosine differ by machine.

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
        seed = _checks.integer("seed", seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed: expected an integer from -2**63 to 2**64 - 1, got {seed}")
        self._twister = Twister(seed % 2**64)

    def get_state(self) -> npt.NDArray[np.uint8]:
        """Return all that the coming numbers depend on, in PyTorch's own bytes.

        Returns:
            5056 bytes; `torch.from_numpy` makes of them what `torch.Generator.set_state` takes.

        Example:
            >>> rng = Generator(0)
            >>> state = rng.get_state()
            >>> before = rng.rand((2,))
            >>> rng.set_state(state)
            >>> bool((rng.rand((2,)) == before).all())
            True

        Source: `torch.Generator.get_state`.
        """
        return self._twister.get_state()

    def set_state(self, state: npt.ArrayLike) -> None:
        """Go on from `state`.

        Args:
            state: 5056 bytes from `get_state`, or from PyTorch's.

        Raises:
            ValueError: If `state` is not such bytes; the generator is then as it was.

        Example:
            >>> rng, other = Generator(0), Generator(1)
            >>> other.set_state(rng.get_state())
            >>> bool(other.randn(()) == rng.randn(()))
            True

        Source: `torch.Generator.set_state`.
        """
        self._twister.set_state(state)

    def rand(self, shape: int | tuple[int, ...], *, dtype: npt.DTypeLike = np.float32) -> Floats:
        """Return numbers uniform in [0, 1).

        Args:
            shape: The shape of the result, or the size of its one axis.
            dtype: float32 or float64.

        Returns:
            `torch.rand(shape, dtype=dtype)`.

        Raises:
            ValueError: If a size is negative, or `dtype` another.

        Example:
            >>> Generator(1).rand((1, 2))
            array([[0.7576316 , 0.27931088]], dtype=float32)

        Source: `torch.rand`.
        """
        return self.uniform(shape, dtype=dtype)

    def uniform(
        self,
        shape: int | tuple[int, ...],
        low: float = 0.0,
        high: float = 1.0,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> Floats:
        """Return numbers uniform in [low, high).

        Args:
            shape: The shape of the result, or the size of its one axis.
            low: The lower end.
            high: The upper end.
            dtype: float32 or float64.

        Returns:
            `torch.empty(shape, dtype=dtype).uniform_(low, high)`.

        Raises:
            ValueError: If a size is negative, `dtype` another, or `low`, `high` or `high - low` not
                finite in it, or `high - low` negative.

        Example:
            >>> Generator(0).uniform((2,), -1.0, 1.0)
            array([-0.00748682,  0.5364436 ], dtype=float32)

        Source: `torch.Tensor.uniform_`.
        """
        result = _empty(shape, dtype)
        low, high = _checks.interval(low, high, ("low", "high"), result.dtype)
        for chunk in _chunks(result):
            unit = self._twister.unit(chunk.size, result.dtype)
            chunk[:] = unit if (low, high) == (0, 1) else _draws.stretch(unit, low, high)
        return result.reshape(shape)

    def randn(self, shape: int | tuple[int, ...], *, dtype: npt.DTypeLike = np.float32) -> Floats:
        """Return numbers of the standard normal distribution.

        Args:
            shape: The shape of the result, or the size of its one axis.
            dtype: float32 or float64.

        Returns:
            `torch.randn(shape, dtype=dtype)`; from 16 numbers on, within 3 ULP of it.

        Raises:
            ValueError: If a size is negative, or `dtype` another.

        Example:
            >>> Generator(0).randn((3,))
            array([ 1.5409961, -0.2934289, -2.1787894], dtype=float32)

        Source: `torch.randn`.
        """
        return self.normal(shape, dtype=dtype)

    def normal(
        self,
        shape: int | tuple[int, ...],
        mean: float = 0.0,
        std: float = 1.0,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> Floats:
        """Return numbers of a normal distribution.

        Args:
            shape: The shape of the result, or the size of its one axis.
            mean: Its mean.
            std: Its standard deviation.
            dtype: float32 or float64.

        Returns:
            `torch.empty(shape, dtype=dtype).normal_(mean, std)`; from 16 numbers on, `std` times a
            number within 3 ULP of PyTorch's, plus `mean`. (That is up to 6 ULP where the product
            ends just above a power of two, and more of a sum that cancels.)

        Raises:
            ValueError: If a size is negative, `dtype` another, `std` negative, or `mean` plus or
                minus 9 `std`, farther than any number comes, not finite in `dtype`.

        Example:
            >>> Generator(0).normal((2,), 10.0, 0.1)
            array([10.154099,  9.970657], dtype=float32)

        Source: `torch.Tensor.normal_`.
        """
        result = _empty(shape, dtype)
        mean, std = _checks.mean_and_std(mean, std, result.dtype)
        if result.size < 16:
            # Few numbers come one by one from float64, and are kept in pairs across calls.
            for i in range(result.size):
                result[i] = _draws.scale_exactly(self._twister.normal(), mean, std)
            return result.reshape(shape)
        for chunk in _chunks(result[: result.size // 16 * 16]):
            chunk[:] = _draws.normal_blocks(self._twister.unit(chunk.size, result.dtype), mean, std)
        if result.size % 16:
            # PyTorch draws for the numbers left over, and then makes the last sixteen anew.
            self._twister.unit(result.size % 16, result.dtype)
            result[-16:] = _draws.normal_blocks(self._twister.unit(16, result.dtype), mean, std)
        return result.reshape(shape)

    def randint(self, low: int, high: int, shape: int | tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return integers uniform in [low, high).

        Args:
            low: The least, from -2^63.
            high: One more than the greatest, up to 2^63.
            shape: The shape of the result, or the size of its one axis.

        Returns:
            `torch.randint(low, high, shape)`, int64. From 0 to 2^63 it is the number that
            `torch.Tensor.random_()` gives an int64.

        Raises:
            ValueError: If a size is negative, an end out of range, `low` not below `high`, or
                `high - low` above 2^64 - 1.

        Example:
            >>> Generator(0).randint(0, 10, (5,))
            array([4, 9, 3, 0, 3])

        Source: `torch.randint`.
        """
        size = _checks.size(shape)
        low, high = _checks.integer("low", low), _checks.integer("high", high)
        if not -(2**63) <= low < high <= 2**63:
            raise ValueError(f"low: expected -2**63 <= low < high <= 2**63, got {low} and {high}")
        if (width := high - low) == 2**64:
            raise ValueError(f"high: expected high - low up to 2**64 - 1, got {width}")
        # A width of 2^28 is where PyTorch begins to draw 64 bits a number.
        words = self._twister.words(size if width < 2**28 else 2 * size)
        drawn = words.astype(np.uint64) if width < 2**28 else _draws.pairs(words)
        drawn %= np.uint64(width)
        drawn += np.uint64(low % 2**64)  # two's complement: a negative low wraps around
        return drawn.view(np.int64).reshape(shape)

    def randperm(self, n: int) -> npt.NDArray[np.int64]:
        """Return the integers from 0 to n - 1 in random order.

        Args:
            n: How many, from 0 to 214,748,363; beyond, PyTorch shuffles by another rule.

        Returns:
            `torch.randperm(n)`, int64.

        Raises:
            ValueError: If `n` is out of range.

        Example:
            >>> Generator(0).randperm(4)
            array([0, 1, 3, 2])

        Source: `torch.randperm`.
        """
        n = _checks.integer("n", n)
        if not 0 <= n < (2**32 - 1) // 20:
            raise ValueError(f"n: expected 0 to {(2**32 - 1) // 20 - 1}, got {n}")
        return _draws.shuffled(self._twister.words(n - 1)) if n else np.empty(0, np.int64)

    def bernoulli(
        self, p: float | npt.ArrayLike, shape: int | tuple[int, ...] | None = None
    ) -> Floats:
        """Return ones with probability p, and zeros.

        Args:
            p: A scalar with a `shape`, or without one a float32 or float64 array.
            shape: The shape of the result, or the size of its one axis, for a scalar `p`.

        Returns:
            `torch.empty(shape).bernoulli_(p)` in float32, or `torch.bernoulli(p)` in `p`'s dtype.

        Raises:
            ValueError: If a probability is outside [0, 1], an array `p` has another dtype or
                comes with a `shape`, or a size is negative.

        Example:
            >>> Generator(0).bernoulli(0.5, (4,))
            array([0., 0., 1., 0.], dtype=float32)
            >>> Generator(0).bernoulli(np.array([0.4, 0.8]))
            array([0., 1.])

        Source: `torch.bernoulli`, `torch.Tensor.bernoulli_`.
        """
        chances = np.asarray(p)
        if not ((chances >= 0) & (chances <= 1)).all():
            raise ValueError(f"p: expected probabilities from 0 to 1, got {chances}")
        if shape is None:
            unit = self.rand(chances.shape, dtype=chances.dtype)
            return (unit < chances).astype(chances.dtype)
        if chances.ndim:
            raise ValueError(f"p: expected a scalar with a shape, got shape {chances.shape}")
        # PyTorch compares float64 numbers with a scalar, whatever it fills.
        return (self.rand(shape, dtype=np.float64) < chances).astype(np.float32)


def _empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Floats:
    """Return a flat array to fill."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
    return np.empty(_checks.size(shape), dtype)


def _chunks(array: Floats) -> Iterator[Floats]:
    """Return views of a flat array, in order."""
    count = _CHUNK // array.itemsize
    return (array[start : start + count] for start in range(0, array.size, count))
