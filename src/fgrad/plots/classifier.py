"""Figures of a classifier: how it learnt, what it takes for what, and examples."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from fgrad.plots.figure import BLUE, GREY, ORANGE
from fgrad.plots.names import families, legible
from fgrad.types import ArrayLike, Metrics

_NUMBERED = 15  # more classes than this, and a matrix's cells have no room for numbers


def curves(records: Sequence[Metrics], verdict: str, reason: str, *, best_epoch: int) -> Figure:
    """Draw the loss and the accuracy of every epoch, with what is read from them.

    Args:
        records: As a `fgrad.classifier.Run` keeps them, one or more.
        verdict: The verdict's name.
        reason: Its reason.
        best_epoch: The epoch to mark, from 1.

    Returns:
        The figure.

    Example:
        >>> record = {"epoch": 1, "loss": 0.5, "accuracy": 0.8}
        >>> record |= {"validation_loss": 0.6, "validation_accuracy": 0.7}
        >>> figure = curves([record], "undecided", "too early", best_epoch=1)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['cross entropy', 'accuracy']
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    title = f"{verdict[0].upper()}{verdict[1:]}: {reason}"
    lines = -(-len(title) // 110)
    figure.suptitle(textwrap.fill(title, len(title) // lines + 10), fontsize=11)
    left, right = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in records]
    for axes, name, label in ((left, "loss", "cross entropy"), (right, "accuracy", "accuracy")):
        for prefix, color, part in (("", BLUE, "training"), ("validation_", ORANGE, "validation")):
            values = [record[prefix + name] for record in records]
            axes.plot(epochs, values, ".-", color=color, linewidth=1.4, label=part)
        axes.axvline(best_epoch, color=GREY, linewidth=1, linestyle=":")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        place = "upper right" if name == "loss" else "lower right"
        axes.legend(loc=place, framealpha=0.9, edgecolor="none")
    left.set_yscale("log")
    for set_formatter in (left.yaxis.set_major_formatter, left.yaxis.set_minor_formatter):
        set_formatter(FuncFormatter(_plain_number))
    left.tick_params(axis="y", which="minor", labelsize=8)
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    right.annotate(
        f"best: epoch {best_epoch}",
        (best_epoch, 0.5),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 0),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="center",
        color=GREY,
    )
    return figure


def confusion(matrix: npt.NDArray[np.integer[Any]], classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, each row as shares of its true class.

    Args:
        matrix: As from `fgrad.classifier.confusion`.
        classes: The classes' names.

    Returns:
        The figure.

    Example:
        >>> figure = confusion(np.array([[3, 1], [0, 4]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['3', '1', '4']
    """
    count = len(classes)
    side = min(max(4.5, 1.6 + 0.58 * count), 12.0)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    totals = np.maximum(matrix.sum(1, keepdims=True), 1)
    image = axes.imshow(matrix / totals, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, shrink=0.8, format=PercentFormatter(1))
    bar.set_label("of the true class")
    bar.outline.set_visible(False)
    if count <= 2 * _NUMBERED:
        names = legible(classes)
        upright = max(map(len, names)) <= 2
        style: dict[str, Any] = {"parse_math": False, "fontfamily": families(names)}
        axes.set_xticks(range(count), names, rotation=0 if upright else 45, **style)
        if not upright:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), names, **style)
    if count <= _NUMBERED:
        for row, column in np.argwhere(matrix > 0):
            dark = matrix[row, column] > 0.5 * totals[row, 0]
            color = "white" if dark else "black"
            number = str(matrix[row, column])
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=9)
    right = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{right:.2%} of {matrix.sum():,} images are classified right",
    )
    axes.spines[:].set_visible(False)
    return figure


def examples(
    images: npt.NDArray[np.uint8],
    labels: ArrayLike,
    probabilities: npt.NDArray[np.floating[Any]],
    classes: Sequence[str],
    *,
    columns: int = 8,
) -> Figure:
    r"""Draw images that were classified right, and the ones most surely classified wrong.

    Args:
        images: uint8 of shape (N, C, H, W), C being 1 or 3.
        labels: Their true classes, of shape (N,).
        probabilities: The predicted ones, of shape (N, classes).
        classes: The classes' names.
        columns: How many images a row has; there are two rows of each kind.

    Returns:
        The figure.

    Example:
        >>> images = np.zeros((2, 1, 4, 4), np.uint8)
        >>> figure = examples(images, np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]), "ab")
        >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
        ['a: 90%', 'b: 80%\ntrue a: 20%']
    """
    labels = np.asarray(labels)
    names = legible(classes)
    style: dict[str, Any] = {"parse_math": False, "fontfamily": families(names)}
    predicted = probabilities.argmax(1)
    sure = probabilities[np.arange(len(labels)), predicted]
    right, wrong = (np.flatnonzero((predicted == labels) == kind) for kind in (True, False))
    count = 2 * columns
    # The right ones evenly spread over the set; the wrong ones, the surest first.
    right = right[np.linspace(0, len(right) - 1, min(count, len(right))).astype(int)]
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    rows = [max(1, -(-len(chosen) // columns)) for chosen in (right, wrong)]
    heights = [0.5 + 1.75 * count for count in rows]
    figure = Figure(figsize=(1.4 * columns, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=heights)
    for i, chosen, title, color in (
        (0, right, "Classified right", BLUE),
        (1, wrong, "Classified wrong, the surest first", ORANGE),
    ):
        part = figure.add_subfigure(grid[i])
        part.suptitle(title if len(chosen) else f"{title}: none", color=color)
        for axes, index in zip(
            _grid(part.subplots(rows[i], columns, squeeze=False)), [*chosen], strict=False
        ):
            probability = probabilities[index]
            text = f"{_short(names[predicted[index]])}: {sure[index]:.0%}"
            if predicted[index] != labels[index]:
                true = labels[index]
                text += f"\ntrue {_short(names[true])}: {probability[true]:.0%}"
            axes.imshow(
                images[index].transpose(1, 2, 0).squeeze(),
                cmap="gray",
                vmin=0,
                vmax=255,
            )
            axes.set_title(text, fontsize=8, color=color, **style)
    return figure


def _plain_number(value: float, _: int | None = None) -> str:
    """Write a tick of a logarithmic axis, if its first digit is 1, 2, 3 or 5."""
    return f"{value:.3g}" if f"{value:e}"[0] in "1235" else ""


def _grid(axes: npt.NDArray[Any]) -> list[Axes]:
    """Return a grid's axes row by row, with no frame."""
    for one in axes.flat:
        one.set_axis_off()
    return list(axes.flat)


def _short(name: str) -> str:
    return name if len(name) <= 11 else f"{name[:10]}…"
