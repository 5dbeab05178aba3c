"""Writing on a photograph: what of it is ink, in whatever light, and on whatever lines.

The steps are those of document scanners: a sheet that lies on a table is found by its four edges;
the paper's brightness is fitted by a polynomial, and what darkens it is divided out; the lines of
ruled paper go where they are thin and cross the picture; of what is left, the heaviest piece and
its near neighbours are the writing.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Grey = npt.NDArray[np.float32]
"""Of shape (H, W), from 0, black, to 255, or shares from 0 to 1."""

Mask = npt.NDArray[np.bool_]
"""Of shape (H, W)."""

_COARSE = 64  # pixels a side at most, where the light and a sheet's edges are looked for
_NOTHING = 0.06  # ink that darkens the paper by less is none
_INK = 0.5  # of the strongest ink: below, it may be paper
_BLACK = 4  # of 255, as the ground of a data set's images
_TINY = 40  # pixels a side: no photograph, but an image as data sets have them
_DARK = 110  # no paper is as dark, not in a shadow either


class Writing(NamedTuple):
    """What is written on a picture.

    Attributes:
        ink: How much of it is where, from 0 to 1, of shape (height, width), cut to the writing.
        doubts: What else is there that makes it a guess which of it is meant, in words.
    """

    ink: Grey
    doubts: tuple[str, ...]


def find_writing(picture: Grey) -> Writing | None:
    """Find the writing on a picture, dark on light or light on dark.

    Args:
        picture: Of shape (H, W), from 0 to 255.

    Returns:
        The writing; None if there is none.

    Example:
        >>> picture = np.full((30, 40), 200, np.float32)
        >>> picture[5:20, 10:16] = 20  # a stroke of 15x6
        >>> writing = find_writing(picture)
        >>> writing.ink.shape, writing.doubts
        ((15, 6), ())
    """
    if max(picture.shape) <= _TINY:
        return _all(picture)
    page = _sheet(picture)
    cut = _box(page)
    picture, page = picture[cut], page[cut]
    bright, noise = _brightness(picture, page)
    found = None
    # What the fit does not follow, a shadow's edge say, is wider than a stroke: wider than half
    # the picture at first; where that leaves doubts, wider than a fifth.
    for part in (2, 5):
        ink = _ink(bright, page, min(picture.shape) // part | 1)
        writing = _written(ink, noise)
        if writing is not None and not writing.doubts:
            return writing
        found = found or writing
    return found


def _all(picture: Grey) -> Writing | None:
    """Return all that contrasts with the border, whichever there is more of, dark or light."""
    contrast = picture - np.median(picture[_edge(picture.shape)])
    ink = np.maximum(contrast if contrast.sum() > 0 else -contrast, 0)
    if ink.max() < 16:
        return None
    ink /= ink.max()
    return Writing(ink[_box(ink > 0.3)], ())


def _sheet(picture: Grey) -> Mask:
    """Return where the sheet of paper is: everywhere, unless a darker table lies around it."""
    everywhere = np.ones(picture.shape, bool)
    if np.median(picture[_edge(picture.shape)]) < _BLACK:
        return everywhere
    step = -(-max(picture.shape) // _COARSE)
    coarse = ndimage.uniform_filter(picture, step)[::step, ::step]
    labels, _ = ndimage.label(coarse > _otsu(coarse))
    sheet = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    outside = ~sheet
    if not 0.03 < outside.mean() < 0.85 or (labels[sheet] > 0).all():
        return everywhere
    rows, columns = np.nonzero(sheet)
    if _quadrilateral(rows, columns) < 0.88 * sheet.sum():
        return everywhere
    within = ndimage.binary_erosion(sheet, iterations=2, border_value=1)
    around = ndimage.binary_dilation(sheet, iterations=2) & outside
    # A table is dark right from the edge on, and a shadow not as dark.
    if not around.any() or np.median(coarse[around]) > 0.5 * np.median(coarse[within]):
        return everywhere
    whole = within.repeat(step, 0).repeat(step, 1)
    return whole[: picture.shape[0], : picture.shape[1]]


def _otsu(values: Grey) -> float:
    """Return the threshold that parts values into the two most distinct groups (Otsu)."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[1:] + edges[:-1]) / 2
    sums = np.cumsum(counts * middles)
    below = np.maximum(np.cumsum(counts)[:-1], 1)
    above = np.maximum(values.size - below, 1)
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1:-1][between.argmax()])


def _quadrilateral(rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> float:
    """Return the area of the larger of two quadrilaterals through the outermost points."""
    areas = []
    for a, b in ((rows + columns, rows - columns), (rows, columns)):
        corners = [a.argmin(), b.argmin(), a.argmax(), b.argmax()]
        y, x = rows[corners], columns[corners]
        areas.append(abs((y[2] - y[0]) * (x[3] - x[1]) - (y[3] - y[1]) * (x[2] - x[0])) / 2)
    return max(areas)


def _brightness(picture: Grey, page: Mask) -> tuple[Grey, float]:
    """Return how bright each pixel is as a share of the paper there, and the noise of that."""
    if page.all() and np.median(picture[_edge(page.shape)]) < _BLACK:
        return np.float32(1) - picture / np.float32(255), 1 / 255  # no light falls on black
    paper, spread = _paper(picture, page)
    contrast = np.where(page, picture - paper, 0)
    lighter = contrast > 4 * spread
    if contrast[lighter | (contrast < -4 * spread)].sum() > 0 and (
        np.median(paper) < _DARK or lighter[_edge(lighter.shape)].mean() < 0.1
    ):  # light on dark, and not a part that lies in the light
        picture, paper = 255 - picture, 255 - paper
    paper = np.maximum(paper, 1)
    return np.where(page, picture / paper, np.float32(1)), spread / float(np.median(paper))


def _ink(bright: Grey, page: Mask, window: int) -> Grey:
    """Return by which share each pixel is darker than what is around, by grey closing."""
    around = np.maximum(ndimage.grey_closing(bright, (window, window)), 0.1)
    return np.where(page, np.maximum(1 - bright / around, 0), 0).astype(np.float32)


def _paper(picture: Grey, page: Mask) -> tuple[Grey, float]:
    """Fit the paper's brightness by a cubic polynomial, and return how far it is off, typically.

    What differs is left out, and the rest fitted again: least trimmed squares. It starts from the
    border, where there is seldom ink.
    """
    step = -(-max(picture.shape) // _COARSE)
    coarse, inside = picture[::step, ::step], page[::step, ::step]
    down, across = (np.linspace(-1, 1, side) for side in coarse.shape)
    terms = [(i, j) for i in range(4) for j in range(4 - i)]
    powers = np.stack([np.outer(down**i, across**j) for i, j in terms], axis=-1)
    deep = ndimage.distance_transform_cdt(np.pad(inside, 1))[1:-1, 1:-1]
    band = inside & (deep <= max(1, max(coarse.shape) // 10))
    fitted, among = np.full(coarse.shape, np.median(coarse[band])), band
    spread = 0.0
    for i in range(12):
        off = np.abs(coarse - fitted)
        spread = 1.48 * float(np.median(off[among])) + 1
        among = (band if i < 4 else inside) & (off < 3 * spread)
        chosen = powers[among]
        factors = np.linalg.lstsq(chosen.T @ chosen, chosen.T @ coarse[among], rcond=None)[0]
        fitted = powers @ factors
    down, across = (np.linspace(-1, 1, side) for side in picture.shape)
    paper = sum(f * np.outer(down**i, across**j) for f, (i, j) in zip(factors, terms, strict=True))
    return np.clip(paper, 0, 255).astype(np.float32), spread


def _written(ink: Grey, noise: float) -> Writing | None:
    """Return the writing among the ink."""
    side = max(ink.shape)
    # A speck or a thin line is less than a stroke, once blurred.
    blurred = ndimage.gaussian_filter(ink, side / 150)
    if blurred.max() < max(_NOTHING, 2 * noise):
        return None
    core = ink[blurred > 0.75 * blurred.max()]
    strongest = float(np.average(core, weights=core))
    ink = np.clip(ink / strongest, 0, 1)
    smooth = ndimage.gaussian_filter(ink, min(4 * noise / strongest, 1) * side / 150)
    return _chosen(ink, _without_lines(smooth > _INK, side))


def _without_lines(mask: Mask, side: int) -> Mask:
    """Remove the lines of ruled or squared paper: thin, straight, more than one, and long."""
    boxes = ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])
    spans = [
        (part.stop - part.start) / length
        for box in boxes
        for part, length in zip(box, mask.shape, strict=True)
    ]
    if max(spans, default=0) < 0.8:
        return mask
    thick = ndimage.binary_opening(mask, np.ones((max(3, side // 40),) * 2))
    thin = mask & ~ndimage.binary_dilation(thick, iterations=2)
    lines = np.zeros((2, *mask.shape), bool)
    for turned, runs in ((mask, lines[0]), (mask.T, lines[1].T)):
        height, width = turned.shape
        along = np.arange(width)
        reach = int(0.8 * width)
        for slope in np.linspace(-0.12, 0.12, 25):
            rows = (np.arange(height)[:, None] + np.rint(slope * along).astype(int)) % height
            sheared = turned[rows, along].astype(np.float32)
            full = ndimage.uniform_filter1d(sheared, reach, axis=1, mode="nearest") > 0.8
            run = ndimage.maximum_filter1d(full, reach, axis=1)
            runs[rows, along] |= run
    lines &= thin
    count = sum(ndimage.label(one, np.ones((3, 3)))[1] for one in lines)
    found = np.logical_or(*lines)
    rest = mask & ~found
    if count < 2 or not rest.any():
        return mask
    # Where a line crosses a stroke, the stroke goes on.
    return rest | (found & ndimage.binary_closing(rest, np.ones((5, 5)), border_value=0))


def _chosen(ink: Grey, mask: Mask) -> Writing | None:
    """Choose the heaviest piece and what belongs to it."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return None
    pieces = range(1, count + 1)
    mass = ndimage.sum(ink, labels, pieces)
    edge = _edge(mask.shape)
    along = np.bincount(labels[edge], minlength=count + 1)[1:] / edge.sum()
    doubts = []
    if along.sum() > 0.4:
        doubts.append("ink along the border")
    main = int(np.argmax(np.where(along > 0.25, 0, mass))) + 1
    boxes = ndimage.find_objects(labels)
    height, width = (part.stop - part.start for part in boxes[main - 1])
    size = max(height, width)
    away = ndimage.distance_transform_edt(labels != main)
    near = ndimage.minimum(away, labels, pieces) < 0.12 * size
    near &= along <= 0.25
    near[main - 1] = True
    several = (~near) & (mass > 0.2 * mass[main - 1]) & (along <= 0.25)
    for i in np.flatnonzero(near):
        rows, columns = boxes[i]
        beside = (
            columns.start >= boxes[main - 1][1].stop or columns.stop <= boxes[main - 1][1].start
        )
        several[i] = beside and rows.stop - rows.start > 0.5 * height
    if several.any():
        doubts.append("several separate things")
    written = np.isin(labels, 1 + np.flatnonzero(near))
    cut = _box(written)
    if cut[1].stop - cut[1].start > 1.5 * (cut[0].stop - cut[0].start):
        doubts.append("something wide")
    soft = ndimage.binary_dilation(written, iterations=2 + max(mask.shape) // 200)
    return Writing(np.where(soft, ink, 0)[cut], tuple(doubts))


def _edge(shape: tuple[int, ...]) -> Mask:
    """Return which pixels are a picture's outermost."""
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def _box(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns from the first True to the last."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
