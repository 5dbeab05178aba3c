"""The figures, drawn with matplotlib and without its global state."""

from fgrad.plots.classifier import confusion, curves, examples
from fgrad.plots.descent import regression, sweep
from fgrad.plots.figure import BLUE, GREY, ORANGE, encode
from fgrad.plots.names import families, legible

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "confusion",
    "curves",
    "encode",
    "examples",
    "families",
    "legible",
    "regression",
    "sweep",
]
