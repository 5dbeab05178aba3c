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


def checked(dataset: Dataset, argument: str = "dataset") -> Dataset:
    """Return a data set whose images, labels and classes go together, or refuse it by name.

    Args:
        dataset: The data set; labels may be integers of any kind, and a list.
        argument: What an error calls it.

    Returns:
        The same with int32 labels.

    Raises:
        ValueError: If the images are not uint8 of shape (N, C, H, W), there are none, or there is
            not one label for each, that is an index into the classes.

    Example:
        >>> images = np.zeros((3, 1, 2, 2), np.uint8)
        >>> checked(Dataset(images, [0, 1, 0], ("a", "b"))).labels
        array([0, 1, 0], dtype=int32)
        >>> checked(Dataset(images, [0, 1, 2], ("a", "b")), "train")
        Traceback (most recent call last):
          ...
        ValueError: train.labels: expected 0 to 1, an index into the 2 classes, got 2 at index 2
    """
    images, classes = np.asarray(dataset.images), dataset.classes
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise ValueError(
            f"{argument}.images: expected uint8 of shape (N, C, H, W), got {images.dtype} of shape "
            f"{images.shape}"
        )
    labels = np.asarray(dataset.labels)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{argument}.labels: expected integers of shape ({len(images)},), a label for each "
            f"image, got {labels.dtype} of shape {labels.shape}"
        )
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        at = int(outside.argmax())
        raise ValueError(
            f"{argument}.labels: expected 0 to {len(classes) - 1}, an index into the "
            f"{len(classes)} classes, got {labels[at]} at index {at}"
        )
    return Dataset(images, labels.astype(np.int32), tuple(classes))


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
    images, labels = np.asarray(dataset.images), np.asarray(dataset.labels)
    return dataset._replace(images=images[indices], labels=labels[indices])
