"""By which products a CPU convolves, and which of them cost the least time."""

import math
from typing import Final, NamedTuple

from fgrad.functional._cpu import winograd
from fgrad.functional._cpu.axes import Axis

_LARGE: Final = 32  # images whose patches together are more than the cache holds
_TILE: Final = 64  # rows, and columns, of what one core makes of a product
_LONG: Final = 2**22  # multiply-adds for a whole batch that two cores are worth sharing


class Formulation(NamedTuple):
    """By which products a convolution is computed.

    Attributes:
        rows: The vertical axis.
        columns: The horizontal axis.
        winograd: Whether by Winograd's, of fewer multiplications, which take 3x3 filters, a stride
            of 1 and blocks of 2x2.
    """

    rows: Axis
    columns: Axis
    winograd: bool = False


def fastest(
    batch: int, out_channels: int, in_channels: int, rows: Axis, columns: Axis
) -> Formulation:
    """Return the formulation, and the blocks in it, that cost the least time.

    Args:
        batch: How many images there are.
        out_channels: How many filters there are.
        in_channels: How many channels they see.
        rows: The vertical axis.
        columns: The horizontal axis.
    """
    # To write and to read a number takes as long as so many multiply-adds of a product, as
    # measured; less, where all patches fit the cache.
    copying = 56 if batch >= _LARGE else 32

    def cost(formulation: Formulation) -> int:
        axes = formulation[:2]
        patches = math.prod(axis.patches for axis in axes)
        length = math.prod(axis.steps * axis.step for axis in axes)
        if formulation.winograd:
            # A product for each number of a tile, which takes to sum up, and its results to put
            # together, as long as so many multiply-adds, as measured.
            summing, joining = 100 * in_channels, 40 * out_channels
            return length * patches * (out_channels * in_channels + summing + joining)
        length *= in_channels
        filters = out_channels * math.prod(axis.block for axis in axes)
        # The weight's gradient is a product of only filters by length numbers. Where that is one
        # tile, a single core makes it, which costs about a third more if there is much to add up.
        alone = max(filters, length) <= _TILE and batch * patches * length * filters > _LONG
        return patches * length * (filters + (filters // 3 if alone else 0) + copying)

    vertical, horizontal = (
        [
            axis._replace(block=block)
            for block in (1, axis.window, 2 * axis.window)
            if axis.outputs % block == 0
        ]
        for axis in (rows, columns)
    )
    choices = [Formulation(down, across) for down in vertical for across in horizontal]
    if batch >= _LARGE and _is_tiled(rows) and _is_tiled(columns):
        down, across = (axis._replace(block=winograd.BLOCK) for axis in (rows, columns))
        choices.append(Formulation(down, across, winograd=True))
    return min(choices, key=cost)


def _is_tiled(axis: Axis) -> bool:
    """Return whether Winograd's tiles cover the axis."""
    small, large = sorted((axis.window, winograd.BLOCK))
    plain = axis.kernel == winograd.KERNEL and axis.stride == 1
    return plain and axis.outputs % winograd.BLOCK == 0 and large % small == 0
