"""MNIST and Fashion-MNIST from their IDX files."""

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fgrad.data import _reading
from fgrad.data.dataset import DIGITS, Dataset, Splits

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Fashion-MNIST's classes, as torchvision names them."""

SIZE = 28
"""The height and the width of an image."""

# By part, as the files are called, how many images it has; no header makes us read more.
_PARTS = {"train": 60_000, "t10k": 10_000}


def mnist(folder: str | os.PathLike[str]) -> Splits:
    """Read MNIST: 60,000 handwritten digits to train on and 10,000 to test with.

    Args:
        folder: Where the four files are: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, gzipped with `.gz` or not; or
            named `train-images.idx3-ubyte` and so on.

    Returns:
        Images of shape (N, 1, 28, 28), light on dark, of the classes "0" to "9"; `pad` them by 2
        for a network that takes 32x32.

    Raises:
        ValueError: If a file is missing, damaged, of another kind or size, or labels and images
            do not go together; it names the file.

    Example:
        >>> mnist("no such folder")
        Traceback (most recent call last):
          ...
        ValueError: folder: expected a folder, got none at no such folder

    Source: `torchvision.datasets.MNIST`.
    """
    return _splits(folder, DIGITS)


def fashion_mnist(folder: str | os.PathLike[str]) -> Splits:
    """Read Fashion-MNIST: 60,000 pieces of clothing to train on and 10,000 to test with.

    Args:
        folder: Where the four files are, under the same names as for `mnist`. The Debian package
            `dataset-fashion-mnist` puts them into `/usr/share/datasets/fashion-mnist`.

    Returns:
        Images of shape (N, 1, 28, 28), light on dark, of the classes that torchvision names; `pad`
        them by 2 for a network that takes 32x32.

    Raises:
        ValueError: As for `mnist`.

    Example:
        >>> fashion_mnist("no such folder")
        Traceback (most recent call last):
          ...
        ValueError: folder: expected a folder, got none at no such folder

    Source: `torchvision.datasets.FashionMNIST`.
    """
    return _splits(folder, FASHION)


def _splits(folder: str | os.PathLike[str], classes: tuple[str, ...]) -> Splits:
    folder = _reading.folder_of(folder)
    names = [
        [f"{part}-{kind}{mark}{rank}-ubyte{gz}" for gz in ("", ".gz") for mark in "-."]
        for part in _PARTS
        for kind, rank in (("images", "idx3"), ("labels", "idx1"))
    ]
    paths = _reading.find(folder, names)
    parts = []
    for images_path, labels_path, most in zip(
        paths[::2], paths[1::2], _PARTS.values(), strict=True
    ):
        images = read_idx(images_path, (SIZE, SIZE), most=most)[:, None]
        labels = read_idx(labels_path, (), most=most)
        if len(labels) != len(images):
            raise ValueError(
                f"{labels_path}: expected a label for each of the {len(images)} images in "
                f"{images_path.name}, got {len(labels)}"
            )
        if labels.max() >= len(classes):
            raise ValueError(
                f"{labels_path}: expected labels from 0 to {len(classes) - 1}, got {labels.max()}"
            )
        parts.append(Dataset(images, labels.astype(np.int32), classes))
    return Splits(*parts)


def read_idx(path: Path, shape: tuple[int, ...], *, most: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes, gzipped or not.

    Args:
        path: The file.
        shape: The shape of one entry: (28, 28) for images, () for labels.
        most: How many entries there may be. Memory is taken for what the file holds, and never
            for more than this, whatever its header or a gzip claim.

    Returns:
        uint8 of shape (N, *shape).

    Raises:
        ValueError: If the file cannot be read, or is not whole and exactly this; it is named.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        ...     print(read_idx(path, (), most=10))
        [7 9]

    Source: the file format on MNIST's page, http://yann.lecun.com/exdb/mnist.
    """
    rank = 1 + len(shape)
    # Two zeros, 8 for bytes, the number of axes; then the size of every axis in 4 bytes.
    start = bytes([0, 0, 8, rank])
    with _reading.opened(path) as raw:
        file = _reading.unpacked(raw)
        header = _reading.read(file, 4 * (1 + rank))
        if header[:4] != start:
            raise ValueError(
                f"{path}: expected an IDX file of {rank} axes of bytes, beginning with "
                f"{start.hex(' ')}, got {header[:4].hex(' ') or 'an empty file'}"
            )
        sizes = tuple(np.frombuffer(header[4 : len(header) // 4 * 4], ">u4").tolist())
        if len(sizes) != rank or sizes[1:] != shape or not 1 <= sizes[0] <= most:
            raise ValueError(
                f"{path}: expected the sizes {' x '.join(map(str, (f'1 to {most}', *shape)))} in "
                f"its header, got {' x '.join(map(str, sizes)) or 'none'}"
            )
        size = math.prod(sizes)
        # One byte more tells whether there are more, and lets gzip check its sum.
        data = _reading.read(file, size + 1)
    if len(data) != size:
        found = "more" if len(data) > size else len(data)
        raise ValueError(f"{path}: expected {size} bytes after its header, got {found}")
    return np.frombuffer(data, np.uint8).reshape(sizes)
