"""CIFAR-10 from its binary files."""

import os

import numpy as np

from fgrad.data import _reading
from fgrad.data.dataset import Dataset, Images, Splits

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""As torchvision names them."""

FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
"""Five to train on, one to test with."""

SUBFOLDER = "cifar-10-batches-bin"
"""Where the archive has them."""

# A label, then 32x32 bytes of red, of green and of blue; a file has 10,000 such records.
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_MOST = 10_000

BYTES = _MOST * _RECORD
"""What a whole file has."""


def cifar10(folder: str | os.PathLike[str]) -> Splits:
    """Read CIFAR-10: 50,000 small photographs to train on and 10,000 to test with.

    Args:
        folder: Where the files of the *binary* version are, `data_batch_1.bin` to
            `data_batch_5.bin` and `test_batch.bin`, or their folder `cifar-10-batches-bin`. The
            Python version's pickles are not read: loading one runs what it says.

    Returns:
        Images of shape (N, 3, 32, 32), of the classes that torchvision names.

    Raises:
        ValueError: If a file is missing, damaged, or not as long as the others; it is named.

    Example:
        >>> cifar10("no such folder")
        Traceback (most recent call last):
          ...
        ValueError: folder: expected a folder, got none at no such folder

    Source: `torchvision.datasets.CIFAR10`.
    """
    folder = _reading.folder_of(folder)
    if (folder / SUBFOLDER).is_dir():
        folder /= SUBFOLDER
    paths = _reading.find(folder, [[name] for name in FILES])
    batches: list[Images] = []
    for path in paths:
        with _reading.opened(path) as file:
            data = _reading.read(file, BYTES + 1)
        count, rest = divmod(len(data), _RECORD)
        if rest or not count:
            found = f"{len(data)} bytes" if len(data) <= BYTES else "more"
            raise ValueError(
                f"{path}: expected 1 to {_MOST} records of {_RECORD} bytes, got {found}"
            )
        records = np.frombuffer(data, np.uint8).reshape(count, _RECORD)
        if (largest := records[:, 0].max()) >= len(CLASSES):
            raise ValueError(f"{path}: expected labels from 0 to {len(CLASSES) - 1}, got {largest}")
        # A file cut between two records is whole by itself; its neighbours tell.
        if batches and len(batches[0]) != count:
            raise ValueError(
                f"{path}: expected {len(batches[0])} images as in {paths[0].name}, got {count}"
            )
        batches.append(records)
    train, test = np.concatenate(batches[:-1]), batches[-1]
    return Splits(
        *(
            Dataset(part[:, 1:].copy().reshape(-1, *_SHAPE), part[:, 0].astype(np.int32), CLASSES)
            for part in (train, test)
        )
    )
