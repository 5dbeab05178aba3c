"""Draw what docs/fast_convolution.md explains: a convolution and its pooling as one product.

`python benchmarks/patches_figure.py docs/images/fast_convolution.png`
"""

import argparse
import itertools
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fgrad import files, plots

PATCH, KERNEL = 6, 5
PLACES = tuple(itertools.product(range(PATCH - KERNEL + 1), repeat=2))
COLORS = (plots.BLUE, plots.ORANGE, "#3a923a", "#8856a7")
NAMES = ("top left", "top right", "bottom left", "bottom right")
SHOWN = 10  # columns of the matrices


def main() -> None:
    """Write the figure to the file that is named."""
    parser = argparse.ArgumentParser(description="Draw a convolution and its pooling.")
    parser.add_argument("file", type=Path, help="a name that ends in .svg or .png")
    file = parser.parse_args().file
    files.write_whole(file, plots.encode(figure(), file.suffix))


def figure() -> Figure:
    """Return the drawing."""
    drawn = Figure(figsize=(10.4, 6))
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 16.2), ylim=(0, 9.35), aspect="equal")
    axes.axis("off")
    _draw_places(axes)
    _draw_product(axes)
    return drawn


def _draw_places(axes: Axes) -> None:
    """Draw a patch, and the filter at each of its places in it."""
    cell, top = 0.29, 8.5
    _write(axes, 1.17, top + 0.4, "a 6x6 patch")
    for row, column in itertools.product(range(PATCH), repeat=2):
        left, bottom = 0.3 + column * cell, top - (row + 1) * cell
        _box(axes, left, bottom, cell, cell, "#e8e8e8")
        _write(axes, left + cell / 2, bottom + cell / 2, str(PATCH * row + column + 1), 6)
    _write(axes, 3.4, 7.6, "is seen by\na 5x5 filter\nat four places:")
    for number, (down, across) in enumerate(PLACES):
        start = 4.9 + 2.9 * number
        _write(axes, start + 0.87, top + 0.4, NAMES[number], color=COLORS[number])
        for row, column in itertools.product(range(PATCH), repeat=2):
            color = COLORS[number] if _is_inside(row - down, column - across) else "white"
            left, bottom = start + column * cell, top - (row + 1) * cell
            _box(axes, left, bottom, cell, cell, color)
            if color == "white":
                _write(axes, left + cell / 2, bottom + cell / 2, "0", 6)


def _draw_product(axes: Axes) -> None:
    """Draw the filters as rows, the patches as columns, their product and its maximum."""
    cell, height, width = 0.132, 0.36, 0.22
    middle = 3.0
    length = PATCH * PATCH * cell
    lefts = {"filters": 0.3, "patches": 5.75, "product": 8.75, "output": 13.65}
    rows = [middle + (1 - number) * height for number in range(len(PLACES))]
    for bottom, color, (down, across) in zip(rows, COLORS, PLACES, strict=True):
        for row, column in itertools.product(range(PATCH), repeat=2):
            inside = _is_inside(row - down, column - across)
            left = lefts["filters"] + (PATCH * row + column) * cell
            _box(axes, left, bottom, cell, height, color if inside else "white")
        for column in range(SHOWN):
            _box(axes, lefts["product"] + column * width, bottom, width, height, color)
    low = middle - length / 2
    for column, row in itertools.product(range(SHOWN), range(PATCH * PATCH)):
        color = "#c4c4c4" if column == 0 else "#f0f0f0"
        _box(axes, lefts["patches"] + column * width, low + row * cell, width, cell, color)
    _write(axes, lefts["patches"] - 0.15, low + length - cell / 2, "1", 6)
    _write(axes, lefts["patches"] - 0.15, low + cell / 2, str(PATCH * PATCH), 6)
    for column in range(SHOWN):
        left = lefts["output"] + column * width
        _box(axes, left, middle - height / 2, width, height, "#555555")
    above = middle + 2 * height
    _write(axes, lefts["filters"] + length / 2, above + 0.55, "filters, row by row,\nzeros around")
    _write(axes, lefts["patches"] + 1.1, low + length + 0.3, "patches as columns")
    _write(axes, lefts["patches"] + 1.1, low - 0.3, "of all images, side by side")
    _write(axes, lefts["product"] + 1.1, above + 0.55, "the product:\na slab for each place")
    _write(axes, lefts["output"] + 1.1, above + 0.55, "the pooled output")
    _write(axes, 5.4, middle, r"$\times$", 15)
    _write(axes, 8.35, middle, "=", 15)
    start = lefts["product"] + SHOWN * width + 0.2
    axes.annotate(
        "",
        (lefts["output"] - 0.2, middle),
        (start, middle),
        arrowprops={"arrowstyle": "->", "color": "black"},
    )
    _write(axes, (start + lefts["output"] - 0.2) / 2, middle + 0.55, "maximum\nof the slabs,\nrelu")


def _is_inside(row: int, column: int) -> bool:
    """Return whether a filter has an element there."""
    return 0 <= row < KERNEL and 0 <= column < KERNEL


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, color: str) -> None:
    axes.add_patch(
        Rectangle((left, bottom), width, height, facecolor=color, edgecolor="#888888", lw=0.4)
    )


def _write(
    axes: Axes, x: float, y: float, text: str, size: float = 9.5, color: str = "black"
) -> None:
    axes.text(x, y, text, size=size, color=color, ha="center", va="center")


if __name__ == "__main__":
    main()
