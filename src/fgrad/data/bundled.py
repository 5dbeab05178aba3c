"""The real handwritten digits that come with scikit-learn: nothing to download."""

import numpy as np

from fgrad.data import _optional
from fgrad.data.dataset import DIGITS, Dataset, Images, Splits, take

SIZE = 32
"""What the images are enlarged to, from 8."""


def digits() -> Splits:
    """Return 1,797 real handwritten digits, enlarged to 32x32.

    Of every class each fifth image, in the file's order, is held out: 355 to test with, and 1,442
    to train on. The same writers are in both parts, as in a random split; no random number is
    drawn. The ink's 17 levels, 0 to 16, become 0 to 255, and the 8x8 pixels 32x32 by linear
    interpolation.

    Returns:
        Images of shape (N, 1, 32, 32), light on dark, of the classes "0" to "9".

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> train, test = digits()
        >>> train.images.shape, test.images.shape
        ((1442, 1, 32, 32), (355, 1, 32, 32))

    Source: `sklearn.datasets.load_digits`; the test part of the UCI "Optical Recognition of
    Handwritten Digits".
    """
    data = _optional.load("sklearn.datasets").load_digits()
    images = np.rint(data.images[:, None] * (255 / 16))
    whole = Dataset(_enlarged(images), data.target.astype(np.int32), DIGITS)
    held_out = np.zeros(len(whole.labels), bool)
    for label in range(len(DIGITS)):
        held_out[np.flatnonzero(whole.labels == label)[4::5]] = True
    return Splits(take(whole, np.flatnonzero(~held_out)), take(whole, np.flatnonzero(held_out)))


def _enlarged(images: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Images:
    """Interpolate linearly between the centres of pixels, as `F.interpolate` does."""
    size = images.shape[-1]
    centres = np.clip((np.arange(SIZE) + 0.5) * size / SIZE - 0.5, 0, size - 1)
    # What each pixel gives to each new one; multiples of 1/8, so that every sum is exact.
    weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(size)), 0)
    return np.rint(weights @ images @ weights.T).astype(np.uint8)
