"""The numbers that the figures show."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from fgrad import plots
from fgrad.types import Array, ArrayLike, Params

X = np.float32([1.0, 2.0, 3.0, 4.0])
Y = np.float32([2.0, 4.0, 6.0, 9.0])
LOSS = [4.0, 0.0, 1.0, float("nan"), 0.25]


def drawn(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return the one line of that label."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def legend(axes: Axes) -> list[str]:
    """Return a legend's words."""
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def titles(figure: plots.figure.Figure) -> list[str]:
    """Return the titles of the pictures that are there."""
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_a_descent_on_one_parameter() -> None:
    """The optimum is 64 / 30; the cost is the mean over the four samples."""

    def apply(params: Params, x: ArrayLike) -> Array:
        return params["w"] * x

    path = {"w": np.float32([0.0, 1.0, 1.5])}
    left, right = plots.regression(LOSS, path, apply, X, Y).axes
    (steps,) = left.lines
    # A loss that a logarithmic axis cannot show leaves a gap, and the others at their steps.
    np.testing.assert_array_equal(steps.get_xdata(), [1, 3, 5])
    np.testing.assert_array_equal(steps.get_ydata(), [4.0, 1.0, 0.25])
    grid, cost = (np.array(values) for values in drawn(right, "cost"))
    np.testing.assert_allclose(cost, ((grid[:, None] * X - Y) ** 2).mean(1), rtol=1e-5)
    best = 64 / 30
    assert grid.min() < 0.0 < best < grid.max(), "the whole way is in sight"
    assert legend(right) == [
        "cost",
        "start  0",
        f"least squares  {best:.4f}".rstrip("0"),
        "end  1.5",
    ]
    assert drawn(right, "end  1.5") == ([1.5], [pytest.approx(((1.5 * X - Y) ** 2).mean())])


def test_a_descent_on_three_parameters_is_drawn_over_the_first_two() -> None:
    def apply(params: Params, x: ArrayLike) -> Array:
        return params["w1"] * x**2 + params["w2"] * x + params["b"]

    path = {
        "w1": np.float32([1.0, 0.5]),
        "w2": np.float32([-1.0, 0.75]),
        "b": np.float32([2.0, 3.0]),
    }
    _, right = plots.regression([1.0], path, apply, X, Y).axes
    assert right.get_title() == "The way down the cost (b at its best)"
    assert (right.get_xlabel(), right.get_ylabel()) == ("w1", "w2")
    design = np.stack([X**2, X, np.ones(4)], 1).astype(float)
    w1, w2, _ = np.linalg.lstsq(design, Y.astype(float))[0]
    start, best, end = legend(right)
    assert (start, end) == ("start  1, -1", "end  0.5, 0.75")
    assert best == f"least squares  {round(w1, 4):.6g}, {round(w2, 4):.6g}"
    # A contour's level is the cost there, the third parameter at its best.
    (contours,) = right.collections
    level, outline = contours.levels[7], contours.get_paths()[7].vertices[0]
    residual = Y - design[:, :2] @ outline
    assert np.square(residual - residual.mean()).mean() == pytest.approx(level, rel=1e-2)


def test_a_sweep_s_diverged_runs_are_drawn_above_all_others() -> None:
    rates = np.float32([0.1, 0.2, 0.3, 0.4, 0.5])
    costs = np.float32([1e-20, 1e-3, 1e30, np.inf, np.nan])
    (axes,) = plots.sweep(rates, costs, edge=0.25).axes
    curve, edge = axes.lines
    lowest, highest = axes.get_ylim()
    values = np.asarray(curve.get_ydata())
    np.testing.assert_allclose(values[:2], [1e-14, 1e-3])
    assert lowest < values[0]
    assert (values[2:] > highest).all()
    np.testing.assert_array_equal(edge.get_xdata(), [0.25, 0.25])
    assert [text.get_text() for text in axes.texts] == ["diverges from 0.2500"]
    assert axes.get_title() == "5 runs of gradient descent, one compiled call"


def test_curves_show_training_and_validation_of_each_epoch() -> None:
    records = [
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "accuracy": 0.5 + epoch / 10,
            "validation_loss": 2 / epoch,
            "validation_accuracy": 0.4 + epoch / 10,
        }
        for epoch in (1, 2, 3)
    ]
    figure = plots.curves(records, "good fit", "no more to learn", best_epoch=2)
    left, right = figure.axes
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for label, prefix in (("training", ""), ("validation", "validation_")):
            expected = [record[prefix + name] for record in records]
            assert drawn(axes, label) == ([1, 2, 3], expected), (name, label)
        assert any(list(line.get_xdata()) == [2, 2] for line in axes.lines), "the best epoch"
    assert [text.get_text() for text in right.texts] == ["best: epoch 2"]
    assert figure.get_suptitle() == "Good fit: no more to learn"


def test_a_confusion_matrix_has_a_row_for_each_true_class() -> None:
    matrix = np.array([[6, 2, 0], [0, 1, 3], [0, 0, 0]])
    axes, _ = plots.confusion(matrix, ["a", "b", "c"]).axes
    (image,) = axes.images
    np.testing.assert_allclose(
        np.asarray(image.get_array()), [[0.75, 0.25, 0], [0, 0.25, 0.75], [0, 0, 0]]
    )

    def cell(text: Text) -> tuple[int, int]:
        column, row = text.get_position()
        return round(row), round(column)

    numbers = {cell(text): (text.get_text(), text.get_color()) for text in axes.texts}
    # White on what is more than half of its class.
    assert numbers == {
        (0, 0): ("6", "white"),
        (0, 1): ("2", "black"),
        (1, 1): ("1", "black"),
        (1, 2): ("3", "white"),
    }
    assert axes.get_title() == "58.33% of 12 images are classified right"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_examples_are_the_right_ones_spread_and_the_wrong_ones_surest_first() -> None:
    images = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    yes = np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.51, 0.75, 0.95])
    probabilities = np.stack([yes, 1 - yes], 1)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    figure = plots.examples(images, labels, probabilities, ["yes", "no"], columns=2)
    assert titles(figure) == [
        *("yes: 90%", "yes: 80%", "yes: 70%", "yes: 55%"),
        *("yes: 95%\ntrue no: 5%", "yes: 75%\ntrue no: 25%", "yes: 51%\ntrue no: 49%"),
    ]
    shown = [
        int(np.asarray(axes.images[0].get_array())[0, 0]) for axes in figure.axes if axes.images
    ]
    assert shown == [0, 1, 2, 4, 7, 6, 5]
