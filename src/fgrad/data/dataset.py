"""What a data set is: images, their labels, and the classes' names."""

from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np
import numpy.typing as npt

Images: TypeAlias = npt.NDArray[np.uint8]
"""Of shape (N, C, H, W)."""

Labels: TypeAlias = npt.NDArray[np.int32]
"""Of shape (N,), each an index into the classes."""

Array = TypeVar("Array", npt.NDArray[Any], jax.Array)
"""What is NumPy's stays NumPy's, and what is JAX's stays JAX's."""

DIGITS = tuple("0123456789")
"""The classes of a set of digits."""


class Dataset(NamedTuple):
    """Images with their labels.

    Attributes:
        images: uint8 of shape (N, C, H, W), from 0, black, to 255.
        labels: int32 of shape (N,), each an index into `classes`.
        classes: The classes' names.

    Source: `torch.utils.data.TensorDataset`.
    """

    images: Images
    labels: Labels
    classes: tuple[str, ...]


class Splits(NamedTuple):
    """A data set's two parts.

    Attributes:
        train: To learn from.
        test: Held out: to judge by, once.
    """

    train: Dataset
    test: Dataset


def take(dataset: Dataset, indices: npt.NDArray[np.integer[Any]]) -> Dataset:
    """Return some of the images, in the order of `indices`.

    Args:
        dataset: The data set.
        indices: Which, from 0.

    Returns:
        A data set of its own; nothing is shared.

    Example:
        >>> three = Dataset(np.zeros((3, 1, 2, 2), np.uint8), np.int32([0, 1, 0]), ("a", "b"))
        >>> print(take(three, np.array([2, 1])).labels)
        [0 1]

    Source: `torch.utils.data.Subset`.
    """
    return dataset._replace(images=dataset.images[indices], labels=dataset.labels[indices])
