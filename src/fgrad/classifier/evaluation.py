"""How well a classifier did: its confusion matrix, and what follows from it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fgrad.types import ArrayLike

Counts = npt.NDArray[np.int64]
Rates = npt.NDArray[np.float64]


def confusion(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Counts:
    """Count how often each class was taken for each.

    Args:
        labels: The true classes, integers of shape (N,).
        predictions: The predicted ones, of shape (N,).
        classes: How many there are.

    Returns:
        int64 of shape (classes, classes): a row a true class, a column a predicted one.

    Raises:
        ValueError: If the shapes differ, or a class is out of range.

    Example:
        >>> print(confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2))
        [[1 1]
         [0 1]]

    Source: `sklearn.metrics.confusion_matrix`.
    """
    true, predicted = np.asarray(labels), np.asarray(predictions)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(
            f"predictions: expected shape (N,) as labels has, got {predicted.shape} and "
            f"{true.shape}"
        )
    for name, values in (("labels", true), ("predictions", predicted)):
        if len(values) and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(f"{name}: expected 0 to {classes - 1}, got {values}")
    cells = true.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def accuracy(matrix: npt.NDArray[np.integer[Any]]) -> float:
    """Return the share that was classified right.

    Args:
        matrix: As from `confusion`.

    Returns:
        A number from 0 to 1.

    Example:
        >>> accuracy(np.array([[3, 1], [0, 4]]))
        0.875

    Source: `sklearn.metrics.accuracy_score`.
    """
    return float(np.trace(matrix) / matrix.sum())


def precision(matrix: npt.NDArray[np.integer[Any]]) -> Rates:
    """Return for each class how many of those predicted to be of it are.

    Args:
        matrix: As from `confusion`.

    Returns:
        float64 of shape (classes,); NaN where none was predicted.

    Example:
        >>> print(precision(np.array([[3, 1], [0, 4]])))
        [1.  0.8]

    Source: `sklearn.metrics.precision_score(average=None, zero_division=np.nan)`.
    """
    return _shares(matrix, matrix.sum(0))


def recall(matrix: npt.NDArray[np.integer[Any]]) -> Rates:
    """Return for each class how many of its own were predicted to be of it.

    Args:
        matrix: As from `confusion`.

    Returns:
        float64 of shape (classes,); NaN where there are none.

    Example:
        >>> print(recall(np.array([[3, 1], [0, 4]])))
        [0.75 1.  ]

    Source: `sklearn.metrics.recall_score(average=None, zero_division=np.nan)`.
    """
    return _shares(matrix, matrix.sum(1))


def _shares(matrix: npt.NDArray[np.integer[Any]], totals: Counts) -> Rates:
    nothing = np.full(len(matrix), np.nan)
    return np.divide(np.diag(matrix), totals, out=nothing, where=totals > 0)
