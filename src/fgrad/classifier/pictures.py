"""A user's own picture as an image of the kind that a network was trained on."""

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fgrad.classifier.writing import find_writing
from fgrad.data.dataset import Images
from fgrad.data.pictures import read_image

_INK = 0.3  # of the strongest: below, it may be paper
_LONGEST = 800  # pixels a side, which thin lines need, and more do not help
_SHARE = 0.5  # how often the answer to a picture with doubts may be right at best


class Prepared(NamedTuple):
    """A picture as a data set's image.

    Attributes:
        image: uint8 of shape (channels, size, size).
        doubts: What makes it a guess what is meant, in words, as `Writing.doubts`.
    """

    image: Images
    doubts: tuple[str, ...] = ()


def light_on_dark(images: Images) -> float | None:
    """Tell whether a data set shows light things on black, as MNIST does, and how large.

    Args:
        images: uint8 of shape (N, C, H, W).

    Returns:
        The median over the images of the longer side of what they show, as a share of the image's
        side; None if they are in colour or their borders are not black.

    Example:
        >>> images = np.zeros((1, 1, 8, 8), np.uint8)
        >>> images[0, 0, 2:6, 3:5] = 255
        >>> light_on_dark(images)
        0.5
    """
    if images.shape[1] != 1 or np.median(_border(images)) > 0:
        return None
    shown = images[:, 0] > _INK * 255
    sides = np.maximum(*(_extents(np.any(shown, axis)) for axis in (1, 2)))
    return float(np.median(sides) / images.shape[-1])


def prepare(
    path: str | os.PathLike[str], *, size: int, channels: int, extent: float | None = None
) -> Prepared:
    """Read a picture, and make it look like a data set's images.

    A data set of light things on black has them centred and all of about one size. So the picture
    is taken for a photograph of writing: it is found by `find_writing`, made light where it is
    dark, cut out, scaled to the data set's size and centred. Other pictures are scaled, and cut
    to their middle.

    Args:
        path: The picture file, of any size, as for `fgrad.data.read_image`.
        size: The height and width of the result.
        channels: 1 for grey, 3 for RGB.
        extent: What `light_on_dark` tells of the data set.

    Returns:
        The image, and the doubts about it.

    Raises:
        ValueError: If the file is no picture, or shows nothing but one colour where `extent` is
            given; it is named.
        ImportError: If Pillow is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "dot.pgm"
        ...     _ = path.write_bytes(b"P5 3 4 255 " + bytes([200] * 4 + [0] + [200] * 7))
        ...     prepare(path, size=4, channels=1, extent=0.5).image
        array([[[  0,   0,   0,   0],
                [  0, 255, 255,   0],
                [  0, 255, 255,   0],
                [  0,   0,   0,   0]]], dtype=uint8)
    """
    if extent is None:
        return Prepared(read_image(path, size=size, channels=channels))
    from PIL import Image

    picture = read_image(path, size=None, channels=1, longest=_LONGEST)[0]
    writing = find_writing(picture.astype(np.float32))
    if writing is None:
        raise ValueError(f"{path}: expected something to see, got a picture of one colour")
    cut = writing.ink
    scale = extent * size / max(cut.shape)
    height, width = (min(size, max(1, round(scale * side))) for side in cut.shape)
    small = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR))
    # Thin lines pale where they are scaled down; then what is left of the paper goes.
    small = np.maximum(small / small.max() - _INK / 2, 0)
    result = np.zeros((1, size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    result[0, top : top + height, left : left + width] = np.rint(small * (255 / small.max()))
    return Prepared(result, writing.doubts)


def tempered(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the probabilities for a picture with doubts: half of each, and half a blind guess.

    Args:
        probabilities: Of shape (..., classes).

    Returns:
        The same shape; the order is kept, and none is above 0.5 + 0.5 / classes.

    Example:
        >>> print(tempered(np.array([1.0, 0.0])))
        [0.75 0.25]
    """
    return _SHARE * probabilities + (1 - _SHARE) / probabilities.shape[-1]


def _border(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the pixels at the borders of images of shape (..., H, W), as one row."""
    sides = images[..., [0, -1], :], images[..., :, [0, -1]]
    return np.concatenate([side.ravel() for side in sides])


def _extents(shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer[Any]]:
    """Return for each row how far apart the first and the last True are, 0 if there is none."""
    first, last = shown.argmax(1), shown.shape[1] - shown[:, ::-1].argmax(1)
    return np.where(shown.any(1), last - first, 0)
