"""The data sets that a classifier can be trained on, by name, and what suits each."""

import os
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from fgrad import data
from fgrad.classifier.nets import SIZE
from fgrad.data import Dataset, Splits
from fgrad.random import Generator


class Defaults(NamedTuple):
    """How to train on a data set.

    Attributes:
        epochs: How many passes over it.
        batch_size: How many images a step takes.
        lr: The learning rate at first.
        momentum: SGD's momentum.
        shift: By how many pixels at most an image is shifted at random.
        flip: Whether images are mirrored at random.
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    shift: int
    flip: bool


# Chosen on validation images; the test images had no say.
DEFAULTS: Final[Mapping[str, Defaults]] = {
    "digits": Defaults(epochs=30, batch_size=32, lr=0.02, momentum=0.9, shift=2, flip=False),
    "mnist": Defaults(epochs=10, batch_size=64, lr=0.02, momentum=0.9, shift=2, flip=False),
    "fashion-mnist": Defaults(epochs=15, batch_size=64, lr=0.05, momentum=0.9, shift=0, flip=True),
    "cifar10": Defaults(epochs=30, batch_size=64, lr=0.02, momentum=0.9, shift=4, flip=True),
    "folder": Defaults(epochs=30, batch_size=32, lr=0.01, momentum=0.9, shift=2, flip=True),
}
"""By name; "folder" is a folder of pictures, a subfolder for each class."""

_READERS: Final[Mapping[str, Callable[[str | os.PathLike[str]], Splits]]] = {
    "mnist": data.mnist,
    "fashion-mnist": data.fashion_mnist,
    "cifar10": data.cifar10,
}


def load_dataset(
    name: str, folder: str | os.PathLike[str] | None = None, *, seed: int = 0
) -> Splits:
    """Read a data set as images of 32x32.

    Args:
        name: One of `DEFAULTS`.
        folder: Where it is; `"digits"` needs none.
        seed: Of a folder of pictures, a fifth is held out, drawn from this seed.

    Returns:
        The images to train on, and those to test with.

    Raises:
        ValueError: If there is no data set of this name, `folder` is missing or superfluous, or
            what it holds is refused.
        OSError: If a file cannot be read.
        ImportError: If a library that reads it is not installed.

    Example:
        >>> train, test = load_dataset("digits")
        >>> train.images.shape
        (1442, 1, 32, 32)
    """
    if name not in DEFAULTS:
        raise ValueError(f"name: expected one of {', '.join(DEFAULTS)}, got {name!r}")
    if (folder is None) != (name == "digits"):
        wanted = "no folder" if folder is not None else "the folder it is in"
        raise ValueError(f"folder: expected {wanted} for {name}, got {folder}")
    if folder is None:
        return data.digits()
    if name == "folder":
        pictures = data.image_folder(folder, size=SIZE, channels=3)
        return Splits(*data.split(pictures, 0.2, Generator(seed)))
    train, test = _READERS[name](folder)
    return Splits(_enlarged(train), _enlarged(test))


def _enlarged(dataset: Dataset) -> Dataset:
    margin = (SIZE - dataset.images.shape[-1]) // 2
    return dataset._replace(images=data.pad(dataset.images, margin)) if margin else dataset
