"""Figures of gradient descent: the loss, the way down the cost, and many runs at once."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fgrad.least_squares import least_squares
from fgrad.plots.figure import BLUE, GREY, ORANGE
from fgrad.types import ApplyFn, ArrayLike


def regression(
    loss: list[float],
    path: Mapping[str, ArrayLike],
    apply: ApplyFn,
    x: ArrayLike,
    y: ArrayLike,
) -> Figure:
    """Draw a regression's loss per step, and its way down the cost to the optimum.

    The cost is the mean squared error over all samples. With one parameter it is a parabola; with
    more, contours over the first two, the others being at their best.

    Args:
        loss: The loss of every step.
        path: By parameter, its values before every step and after the last, of shape
            (steps + 1, ...); a value has one element.
        apply: The model, linear in its parameters.
        x: The inputs, as `apply` takes them.
        y: The targets, as `apply` returns them.

    Returns:
        The figure.

    Example:
        >>> from fgrad.models import quadratic
        >>> path = {name: np.array([1.0, 0.5]) for name in ("w1", "w2", "b")}
        >>> x = np.float32([1, 2, 3])
        >>> [axes.get_title() for axes in regression([4.0], path, quadratic.apply, x, 2 * x).axes]
        ['Loss of every step', 'The way down the cost (b at its best)']
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _loss_per_step(left, loss)
    names = list(path)
    points = np.stack([np.ravel(path[name]) for name in names]).astype(np.float64)
    points = points[:, (np.abs(points) < 1e100).all(axis=0)]  # their squares are finite
    params = {name: values[0] for name, values in path.items()}
    optimum = least_squares(apply, params, x, y)
    best = np.array([optimum[name].item() for name in names])
    # Linear in its parameters, a model is its Jacobian's columns: the cost is a quadratic form.
    jacobian = jax.jacfwd(lambda params: apply(params, x))(params)
    columns = np.stack([np.ravel(jacobian[name]) for name in names], axis=1).astype(float)
    residual = columns @ best - np.ravel(y)
    if len(names) == 1:
        _parabola(right, points, best, columns, residual)
        right.set(xlabel=names[0], ylabel="mean squared error", title="The way down the cost")
    else:
        _contours(right, points, best, columns, residual)
        at_best = f" ({', '.join(names[2:])} at its best)" if names[2:] else ""
        right.set(xlabel=names[0], ylabel=names[1], title=f"The way down the cost{at_best}")
    right.legend(framealpha=0.9, edgecolor="none")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def sweep(rates: ArrayLike, costs: ArrayLike, edge: float) -> Figure:
    """Draw the final cost of many runs against their learning rate, and where they diverge.

    Args:
        rates: The learning rates, increasing, of shape (n,).
        costs: The cost each run ended at, of shape (n,); infinity or NaN where it diverged.
        edge: The learning rate from which runs diverge, from theory.

    Returns:
        The figure.

    Example:
        >>> figure = sweep(np.array([0.1, 0.2, 0.3]), np.array([1e-9, 1e-3, np.inf]), 0.25)
        >>> figure.axes[0].get_yscale()
        'log'
    """
    rates, costs = np.asarray(rates), np.asarray(costs)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    floor, ceiling = 1e-14, 1e6  # float32 resolves no cost below, and hides none above
    drawn = np.where(np.isnan(costs), np.inf, costs).clip(floor, 10 * ceiling)
    axes.plot(rates, drawn, color=BLUE, linewidth=1.2)
    axes.axvspan(edge, rates[-1], color=ORANGE, alpha=0.12, linewidth=0)
    axes.axvline(edge, color=ORANGE, linewidth=1.2)
    axes.set(xlim=(rates[0], rates[-1]), ylim=(floor / 3, ceiling), yscale="log")
    axes.annotate(
        f"diverges from {edge:.4f}",
        (edge, 1e3),
        xytext=(-8, 0),
        textcoords="offset points",
        ha="right",
        color=ORANGE,
    )
    axes.set(
        xlabel="learning rate",
        ylabel="mean squared error after training",
        title=f"{len(rates):,} runs of gradient descent, one compiled call",
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _loss_per_step(axes: Axes, loss: list[float]) -> None:
    steps = np.arange(1, len(loss) + 1)
    values = np.array(loss)
    shown = (values > 0) & (values < 1e200)  # what a logarithmic axis can show
    axes.plot(steps[shown], values[shown], color=BLUE, linewidth=1)
    axes.set(yscale="log", xlabel="step", ylabel="loss", title="Loss of every step")
    axes.grid(alpha=0.25)


Vector = npt.NDArray[np.floating[Any]]


def _parabola(axes: Axes, path: Vector, best: Vector, columns: Vector, residual: Vector) -> None:
    """Draw the cost of one parameter, and the descent on it."""

    def cost(weight: Vector) -> Vector:
        return np.square(np.multiply.outer(weight - best[0], columns[:, 0]) + residual).mean(-1)

    reach = max(np.abs(path - best).max(initial=0), 0.5) * 1.15
    grid = np.linspace(best[0] - reach, best[0] + reach, 400)
    axes.plot(grid, cost(grid), color=GREY, linewidth=1.5, label="cost")
    _descent(axes, np.stack([path[0], cost(path[0])]), np.stack([best, cost(best)])[:, 0], 1)


def _contours(axes: Axes, path: Vector, best: Vector, columns: Vector, residual: Vector) -> None:
    """Draw the cost over the first two parameters, and the descent on it."""
    others = columns[:, 2:]
    # What the other parameters can explain, they do.
    pair = columns[:, :2] - others @ np.linalg.pinv(others) @ columns[:, :2]
    path, best = path[:2], best[:2]
    reach = np.maximum(np.abs(path - best[:, None]).max(axis=1, initial=0), 0.5) * 1.15
    across, up = (np.linspace(b - r, b + r, 200) for b, r in zip(best, reach, strict=True))
    offsets = np.stack(np.meshgrid(across - best[0], up - best[1]), axis=-1)
    cost = np.square(offsets @ pair.T + residual).mean(axis=-1)
    lowest, highest = cost.min() + cost.max() * 1e-5, cost.max()
    if lowest < highest:  # else the other parameters explain everything
        levels = np.geomspace(lowest, highest, 14)
        axes.contour(across, up, cost, levels=levels, colors=GREY, linewidths=0.7)
    _descent(axes, path, best, 2)


def _descent(axes: Axes, path: Vector, best: Vector, parameters: int) -> None:
    """Draw a path of points, its ends and the optimum, with their parameters in the legend."""

    def label(name: str, point: Vector) -> str:
        return (
            f"{name}  {', '.join(f'{round(value, 4) + 0.0:.6g}' for value in point[:parameters])}"
        )

    start, end = path[:, 0], path[:, -1]
    axes.plot(*path, ".-", color=BLUE, markersize=4, linewidth=0.8)
    axes.plot(*start, "o", color="white", markeredgecolor=BLUE, label=label("start", start))
    axes.plot(*best, "*", color=ORANGE, markersize=15, label=label("least squares", best))
    axes.plot(*end, "o", color=BLUE, label=label("end", end))
