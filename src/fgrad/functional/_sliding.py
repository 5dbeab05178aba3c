"""How filters slide over images."""

from typing import NamedTuple

from fgrad.types import Array


class Sliding(NamedTuple):
    """How filters slide over images, vertically and horizontally.

    Attributes:
        strides: From one output to the next.
        padding: How many zeros go before and after.
        dilation: From one element of a filter to the next.
        groups: Into how many parts the channels are split.
    """

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    def output_sizes(self, images: Array, weight: Array) -> tuple[int, int]:
        """Return the height and width of what filters make of images."""
        reach = spans(weight, self.dilation)
        axes = zip(images.shape[2:], self.padding, reach, self.strides, strict=True)
        height, width = ((size + sum(pad) - span) // step + 1 for size, pad, span, step in axes)
        return height, width


def spans(weight: Array, dilation: tuple[int, int]) -> tuple[int, int]:
    """Return how far a filter reaches, vertically and horizontally."""
    height, width = ((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    return height, width
