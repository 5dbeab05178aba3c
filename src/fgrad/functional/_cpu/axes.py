"""How filters, and patches of them, slide along an axis of an image."""

from typing import NamedTuple


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
