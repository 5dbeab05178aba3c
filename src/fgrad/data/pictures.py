"""Pictures of any kind as images of one size, by Pillow: one file, or a folder by class."""

import contextlib
import math
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgrad.data import _optional, _reading
from fgrad.data.dataset import Dataset, Images

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".ppm",
    ".bmp",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
)
"""What counts as a picture's name: torchvision's, and .gif."""

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")

# A file may claim any size, and Pillow takes memory for it before it looks for the pixels. A
# picture of more than 4096x4096 pixels must bring a byte for every 1,032 bytes of them, which
# is the most that PNG's compression makes of one, and may take so much memory at most.
_MANY_PIXELS = 2**24
_BYTES_A_BYTE = 1032
_MEMORY = 700 * 10**6

_PARTS = {"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"}

_filters = threading.Lock()


def read_image(
    path: str | os.PathLike[str], *, size: int | None, channels: int, longest: int | None = None
) -> Images:
    """Read a picture, as a square image if a size is given.

    It is turned as its camera says (EXIF), laid on white where it is transparent, made grey or
    RGB, scaled until its shorter side fits, and cut to its middle. Of 16 bits the high 8 are kept,
    of an animation the first frame.

    Args:
        path: A JPEG, PNG, GIF, BMP, TIFF, WebP, PPM or PGM file.
        size: The height and width of the result; None leaves the picture as large as it is, and
            uncut.
        channels: 1 for grey, 3 for RGB.
        longest: What the longer side of an uncut picture is scaled down to, if it is longer.

    Returns:
        uint8 of shape (channels, size, size), or (channels, height, width).

    Raises:
        ValueError: If the file is none of these, damaged, of floating-point or 32-bit pixels,
            claims far more pixels than it has bytes for, or takes more than 700 MB once it is
            unpacked; it is named.
        ImportError: If Pillow is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "two.pgm"
        ...     _ = path.write_bytes(bytes([*b"P5 2 2 255 ", 0, 50, 100, 150]))
        ...     read_image(path, size=2, channels=1)
        array([[[  0,  50],
                [100, 150]]], dtype=uint8)

    Source: `torchvision.io.read_image`; `torchvision.transforms.Resize` and `CenterCrop`.
    """
    _check(size, channels)
    path = Path(path)
    pil = _optional.load("PIL.Image")
    with _reading.opened(path) as file:
        try:
            with _unwarned():
                image = pil.open(file, formats=_FORMATS)
            with image:
                _fits(image, os.fstat(file.fileno()).st_size)
                return _pixels(image, size, channels, longest)
        except pil.UnidentifiedImageError:
            problem = "none of these, or a damaged one"
        except Exception as error:  # damaged files make Pillow's decoders raise anything
            problem = _reading.reason(error)
    raise ValueError(f"{path}: expected a whole picture ({', '.join(_FORMATS)}), got {problem}")


def image_folder(folder: str | os.PathLike[str], *, size: int, channels: int) -> Dataset:
    """Read a folder of pictures, a subfolder for each class.

    Args:
        folder: Its subfolders are the classes, in the order of their names; all the pictures in
            one, however deep, are the class's, in the order of theirs. Names that begin with a
            dot are left out.
        size: The height and width of the images.
        channels: 1 for grey, 3 for RGB.

    Returns:
        Images of shape (N, channels, size, size), each as from `read_image`.

    Raises:
        ValueError: If there are no subfolders, only such as "train" and "test", one without a
            picture, or pictures that cannot be read, which are named.
        ImportError: If Pillow is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, value in (("night", 0), ("day", 255)):
        ...         (Path(folder) / name).mkdir()
        ...         picture = bytes([*b"P5 1 1 255 ", value])
        ...         _ = (Path(folder) / name / "sky.pgm").write_bytes(picture)
        ...     images, labels, classes = image_folder(folder, size=2, channels=1)
        >>> print(classes, labels, images[:, 0, 0, 0])
        ('day', 'night') [0 1] [255   0]

    Source: `torchvision.datasets.ImageFolder`.
    """
    _check(size, channels)
    folder = _reading.folder_of(folder)
    entries = [entry for entry in os.scandir(folder) if not _is_hidden(entry.name)]
    classes = tuple(sorted(entry.name for entry in entries if entry.is_dir()))
    if not classes:
        raise ValueError(f"folder: expected a subfolder for each class in {folder}, got none")
    if {name.lower() for name in classes} <= _PARTS:
        raise ValueError(
            f"folder: expected a subfolder for each class in {folder}, got the parts of a data "
            f"set, {', '.join(classes)}; give one of them, as {folder / classes[-1]}, or put the "
            "classes of all of them into one folder"
        )
    files = [(path, label) for label, name in enumerate(classes) for path in _files(folder / name)]
    labels = np.array([label for _, label in files], np.int32)
    if empty := [name for label, name in enumerate(classes) if label not in labels]:
        raise ValueError(
            f"folder: expected pictures ({', '.join(EXTENSIONS)}) in every subfolder of {folder}, "
            f"got none in {', '.join(empty)}"
        )
    images = np.empty((len(files), channels, size, size), np.uint8)
    problems = []
    for image, (path, _) in zip(images, files, strict=True):
        try:
            image[:] = read_image(path, size=size, channels=channels)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError("; ".join(problems[:3]) + more)
    return Dataset(images, labels, classes)


def _check(size: int | None, channels: int) -> None:
    if size is not None and size < 1:
        raise ValueError(f"size: expected 1 or more, got {size}")
    if channels not in (1, 3):
        raise ValueError(f"channels: expected 1 or 3, got {channels}")


def _files(top: Path) -> Iterator[Path]:
    """Yield a class's pictures in torchvision's order."""

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"{error.filename}: expected a folder that can be read, got {_reading.reason(error)}"
        ) from error

    def shown() -> Iterator[tuple[str, list[str]]]:
        for folder, folders, names in os.walk(top, onerror=refuse, followlinks=True):
            folders[:] = [name for name in folders if not _is_hidden(name)]
            yield folder, [name for name in names if _is_picture(name)]

    seen = set()
    for folder, names in sorted(shown()):
        if (real := os.path.realpath(folder)) not in seen:  # a link may lead back up
            seen.add(real)
            yield from (Path(folder, name) for name in sorted(names))


def _is_hidden(name: str) -> bool:
    """Tell names that programs leave beside a user's own: .ipynb_checkpoints, ._cat.png."""
    return name.startswith(".")


def _is_picture(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not _is_hidden(name)


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Leave out Pillow's warnings of a picture's small faults; what matters raises.

    Filters are the whole process's: one thread at a time changes them, and puts them back.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fits(image: "Image", held: int) -> None:
    """Refuse a Pillow image that claims too much, before its pixels are read from `held` bytes."""
    pixels = image.width * image.height
    if pixels <= _MANY_PIXELS:
        return
    size = f"{image.width}x{image.height} pixels"
    if pixels // (8 if image.mode in ("1", "P") else 1) > _BYTES_A_BYTE * held:
        raise ValueError(f"{size} in {held} bytes")
    # A JPEG is scaled down while it is unpacked.
    factor = _factor(image)
    image.draft(None, (-(-image.width // factor), -(-image.height // factor)))
    kept = {"1": 2, "L": 1}.get(image.mode, 4)  # Pillow's bytes a pixel
    if image.has_transparency_data and "A" not in image.mode:
        kept += 4
    if (memory := kept * image.width * image.height) > _MEMORY:
        raise ValueError(f"{size}, {memory // 10**6} MB unpacked; scale it down first")


def _factor(image: "Image") -> int:
    """Return by how much a picture of many pixels is to be scaled down before anything else."""
    return math.isqrt(max(image.width * image.height - 1, 0) // _MANY_PIXELS) + 1


def _pixels(image: "Image", size: int | None, channels: int, longest: int | None) -> Images:
    """Return a Pillow image's pixels."""
    pil, operations = _optional.load("PIL.Image"), _optional.load("PIL.ImageOps")
    image.load()
    with _unwarned():
        operations.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = _high_bits(image)
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, whose white is not known")
    transparent = image.has_transparency_data
    if image.mode in ("1", "P", "PA") or (transparent and "A" not in image.mode):
        image = image.convert("RGBA" if transparent else "L" if image.mode == "1" else "RGB")
    if (factor := _factor(image)) > 1:
        image = image.reduce(factor)  # before other copies are made
    if transparent:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if longest is not None:
        image.thumbnail((longest, longest), pil.Resampling.BOX, reducing_gap=None)
    if size is not None:
        short = min(image.size)
        left, right = _middle(image.width, short, size)
        top, bottom = _middle(image.height, short, size)
        image = image.resize((size, size), pil.Resampling.BILINEAR, box=(left, top, right, bottom))
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    return pixels.transpose(2, 0, 1).copy()


def _high_bits(image: "Image") -> "Image":
    """Return a Pillow image of 16 bits as one of 8, white where it is transparent."""
    pixels = np.asarray(image)
    high = (pixels >> 8).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        high[pixels == transparent] = 255
    image_module = _optional.load("PIL.Image")
    return image_module.fromarray(high)


def _middle(side: int, short: int, size: int) -> tuple[float, float]:
    """Return from where to where of a side is the middle of the scaled picture."""
    scaled = size * side // short
    start = round((scaled - size) / 2)
    return start * side / scaled, (start + size) * side / scaled
