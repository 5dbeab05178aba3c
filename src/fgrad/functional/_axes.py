"""How filters, and patches of them, slide along the axes of an image, and how large patches are."""

import math
from typing import Final, NamedTuple

_LARGE: Final = 32  # images whose patches together are more than the cache holds
_TILE: Final = 64  # rows, and columns, of what one core makes of a product
_LONG: Final = 2**22  # multiply-adds for a whole batch that two cores are worth sharing


class Axis(NamedTuple):
    """How filters, and patches of them, slide along one axis.

    Attributes:
        size: The length of the axis.
        kernel: The filter's.
        stride: From one output to the next.
        padding: How many zeros go before the axis.
        outputs: How many outputs to make.
        window: How many outputs side by side are pooled to one, a divisor of `outputs`.
        block: How many outputs side by side one patch yields, a divisor of `outputs`, and a
            multiple or a divisor of `window`.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    outputs: int
    window: int = 1
    block: int = 1

    @property
    def step(self) -> int:
        """From one patch to the next."""
        return self.stride * self.block

    @property
    def steps(self) -> int:
        """How many steps long a patch is."""
        return -(-(self.kernel + (self.block - 1) * self.stride) // self.step)

    @property
    def patches(self) -> int:
        """How many patches there are."""
        return self.outputs // self.block

    @property
    def within(self) -> int:
        """How many outputs of a block are pooled to one."""
        return min(self.block, self.window)

    @property
    def edges(self) -> tuple[int, int, int]:
        """`lax.pad`'s numbers for all that the patches see, and no more."""
        end = self.step * (self.patches + self.steps - 1) - self.padding - self.size
        return self.padding, end, 0


def in_blocks(
    batch: int, out_channels: int, in_channels: int, rows: Axis, columns: Axis
) -> tuple[Axis, Axis]:
    """Return the axes with the blocks that cost the least time.

    Args:
        batch: How many images there are.
        out_channels: How many filters there are.
        in_channels: How many channels they see.
        rows: The vertical axis.
        columns: The horizontal axis.
    """
    # To write and to read a number of a patch takes as long as so many multiply-adds with it, as
    # measured; less, where all patches fit the cache.
    copying = 56 if batch >= _LARGE else 32

    def cost(axes: tuple[Axis, Axis]) -> int:
        patches = math.prod(axis.patches for axis in axes)
        length = in_channels * math.prod(axis.steps * axis.step for axis in axes)
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
    return min(((down, across) for down in vertical for across in horizontal), key=cost)
