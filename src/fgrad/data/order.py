"""PyTorch's shuffle order and random split, from a seed."""

import numpy as np
import numpy.typing as npt

from fgrad import _checks
from fgrad.data.dataset import Dataset, take
from fgrad.random import Generator


def epoch_order(rng: Generator, n: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch of a shuffled `DataLoader`.

    Every epoch draws 64 bits, which seed PyTorch's worker processes and nothing here, and 64 more,
    which seed a generator of the epoch's own for `torch.randperm`. So call it once an epoch, and
    draw from `rng` in between only what the PyTorch program draws.

    Args:
        rng: The generator that stands for `torch.manual_seed(seed)`; it is advanced.
        n: How many images, 1 or more.

    Returns:
        The indices 0 to n - 1 in the order of `iter(DataLoader(dataset, shuffle=True))`; take
        `batch_size` at a time.

    Raises:
        ValueError: If `n` is out of range.

    Example:
        >>> rng = Generator(0)
        >>> print(epoch_order(rng, 6), epoch_order(rng, 6))
        [0 4 3 5 2 1] [2 3 1 5 4 0]

    Source: `torch.utils.data.DataLoader(dataset, shuffle=True)` without a `generator`.
    """
    if (n := _checks.integer("n", n)) < 1:
        raise ValueError(f"n: expected 1 or more, got {n}")
    rng.randint(0, 2**63, ())
    return Generator(int(rng.randint(0, 2**63, ()))).randperm(n)


def split(dataset: Dataset, held_out: float, rng: Generator) -> tuple[Dataset, Dataset]:
    """Split a data set at random in two: to train on, and to validate with.

    Args:
        dataset: The data set, of n images.
        held_out: How much to validate with: an integer counts the images, a fraction between 0 and
            1 is of n, rounded down.
        rng: The generator; it is advanced.

    Returns:
        `random_split(dataset, [n - k, k], generator)` for a count k, and
        `random_split(dataset, [1 - f, f], generator)` for a fraction f, index by index.

    Raises:
        ValueError: If either part would be empty.

    Example:
        >>> images, labels = np.zeros((5, 1, 2, 2), np.uint8), np.arange(5, dtype=np.int32)
        >>> train, validation = split(Dataset(images, labels, tuple("abcde")), 0.4, Generator(0))
        >>> print(train.labels, validation.labels)
        [4 0 1] [3 2]

    Source: `torch.utils.data.random_split`.
    """
    n = len(dataset.labels)
    if isinstance(held_out, int | np.integer):
        count = int(held_out)
    elif 0 < held_out < 1:
        count = int(n * held_out)  # what is left over goes to the first part, in PyTorch as well
    else:
        count = 0
    if not 1 <= count < n:
        raise ValueError(
            f"held_out: expected a count from 1 to {n - 1}, or a fraction that gives one, of {n} "
            f"images, got {held_out}"
        )
    order = rng.randperm(n)
    return take(dataset, order[: n - count]), take(dataset, order[n - count :])
