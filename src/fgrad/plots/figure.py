"""What every figure shares: its colours, and how it becomes a file."""

import io

from matplotlib import rc_context
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0a6ebd", "#d95f02", "#8a8a8a"


def encode(figure: Figure, suffix: str) -> bytes:
    """Return a figure as a file's content.

    Args:
        figure: The figure.
        suffix: `".png"` or `".svg"`.

    Returns:
        The bytes; the same figure gives the same bytes.

    Example:
        >>> encode(Figure(), ".png")[1:4]
        b'PNG'
    """
    suffix = suffix.lower()
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "fgrad", "svg.fonttype": "none"}):
        metadata = {"Date": None} if suffix == ".svg" else None
        figure.savefig(buffer, format=suffix[1:], dpi=160, metadata=metadata)
    return buffer.getvalue()
