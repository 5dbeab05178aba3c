"""The autograd programs: the notes' numbers, what they draw, and what users may do wrong."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import SCRIPTS, assert_refused, lines, run

IMAGES = SCRIPTS.parent / "docs" / "images"


@pytest.mark.parametrize("model", ["line", "parabola"])
def test_the_figures_in_the_docs_are_what_the_script_draws(model: str, tmp_path: Path) -> None:
    output = tmp_path / "figure.svg"
    lines("backprop_graph.py", "--model", model, "--output", output)
    assert output.read_text() == (IMAGES / f"backprop_{model}.svg").read_text()


def test_a_derivation_is_printed_step_by_step() -> None:
    printed = lines("backprop_graph.py", "--model", "line", "--w", 3, "--b", 0.5)
    start = printed.index("The chain rule, from the loss back") + 2
    cells = [re.split(r"\s{2,}", line) for line in printed[start:]]
    assert cells == [
        ["step back", "forward value", "local derivative", "product so far"],
        ["d loss / d residual", "residual = 1.5", "3.0", "1.0 * 3.0 = 3.0"],
        ["d residual / d y_hat", "y_hat = 3.5", "1.0", "3.0 * 1.0 = 3.0"],
        ["d residual / d y", "y = 2.0", "-1.0", "3.0 * -1.0 = -3.0"],
        ["d y_hat / d wx", "wx = 3.0", "1.0", "3.0 * 1.0 = 3.0"],
        ["d y_hat / d b", "b = 0.5", "1.0", "3.0 * 1.0 = 3.0"],
        ["d wx / d w", "w = 3.0", "1.0", "3.0 * 1.0 = 3.0"],
        ["d wx / d x", "x = 1.0", "3.0", "3.0 * 3.0 = 9.0"],
    ]


def test_updates_are_those_of_gradient_descent() -> None:
    printed = lines("backprop_graph.py", "--model", "parabola", "--x", 2, "--y", 4, "--train", 5)
    rows = [line.split("  ") for line in printed[-6:]]
    w1 = w2 = b = np.float32(1)
    x, y, lr = np.float32(2), np.float32(4), np.float32(0.01)
    for k, row in enumerate(rows):
        cells = [cell.strip() for cell in row if cell]
        residual = w1 * x**2 + w2 * x + b - y
        slope = 2 * residual
        expected = [w1, w2, b, residual**2, slope * x**2, slope * x, slope]
        assert int(cells[0]) == k
        np.testing.assert_array_equal(
            np.asarray(cells[1:4] + cells[-4:], np.float32), np.asarray(expected)
        )
        w1, w2, b = (p - lr * g for p, g in zip((w1, w2, b), expected[-3:], strict=True))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--w1", 3], "error: --w1: the line has w, b"),
        (["--x", "nan"], "argument --x: expected a finite number"),
        (["--model", "cube"], "argument --model: invalid choice: 'cube'"),
        (["--train", -1], "argument --train: expected 0 or more, got -1"),
        (["--lr", 0], "argument --lr: expected a number above 0"),
        (["--output", "figure.gif"], "argument --output: expected a name ending in .svg or"),
        (["--output", "nowhere/figure.svg"], "argument --output: cannot write"),
    ],
)
def test_what_a_derivation_refuses(args: list[object], message: str) -> None:
    result = run("backprop_graph.py", *args)
    assert_refused(result, message)


def test_updates_that_diverge_are_printed_up_to_there() -> None:
    result = run("backprop_graph.py", "--x", 50, "--train", 50)
    assert result.returncode == 1
    assert result.stderr == (
        "backprop_graph.py: error: --train: expected finite values, got others at update 11: "
        "try a smaller --lr\n"
    )
    table = result.stdout.splitlines()[-13:]
    assert [line.split()[0] for line in table] == ["update", *map(str, range(12))]
    assert not any("inf" in line for line in table[:-1])
    assert "inf" in table[-1]


@pytest.mark.parametrize(
    "text",
    [
        "--x X the sample's input (default: 1)",
        "--y Y the target, what y_hat should be (default: 2)",
        "--w W the slope w (default: 1 for the line)",
        "--b B the intercept b (default: 2 for the line, 1 for the parabola)",
        "--w1 W1 the coefficient w1 of x^2 (default: 1 for the parabola)",
        "--w2 W2 the coefficient w2 of x (default: 1 for the parabola)",
        ".svg or .png for a picture, .mmd for Mermaid, .dot for Graphviz, or .txt for the table",
    ],
)
def test_the_help_says_what_each_option_is(text: str) -> None:
    assert text in " ".join(" ".join(lines("backprop_graph.py", "--help")).split())


@pytest.fixture(scope="module")
def lesson() -> str:
    return "\n".join(lines("autograd_basics.py"))


@pytest.mark.parametrize(
    "text",
    [
        "y = sum(x^2 + 4x + 1) = 74.0",
        "dy/dx = [[6.0, 8.0], [10.0, 12.0]]",
        "w.grad accumulates: 3.0 + 6.0 = 9.0",
        "d(w w)/dw = 4.0, with the second w detached 2.0",
        "jacrev, a row at a time:    [[2.0, 1.0, 0.0], [0.0, 3.0, 2.0]]",
        "jax.vjp gives v J = [2.0, 31.0, 20.0]",
        "its own backward:             [0.0, 0.0, 1.0]",
        "what JAX derives from max:    [0.0, 0.5, 1.0]",
        "np.asarray(jax): shared, read-only",
        "W = W2 W1 = [[5.0, -3.0]], b = W2 b1 + b2 = [1.5]",
    ],
)
def test_the_lesson_prints_its_numbers(lesson: str, text: str) -> None:
    assert text in lesson


def test_two_linear_layers_are_one_in_numbers(lesson: str) -> None:
    compared = re.findall(r"\+ b2 = (\S+), W x \+ b = (\S+), with relu between (\S+)", lesson)
    assert len(compared) == 2
    assert all(two == one != bent for two, one, bent in compared)


def test_rand_and_randn_have_their_moments(lesson: str) -> None:
    moments = re.findall(r"mean (\S+), variance (\S+),", lesson)
    np.testing.assert_allclose(np.float64(moments[0]), [1 / 2, 1 / 12], atol=0.02)
    np.testing.assert_allclose(np.float64(moments[1]), [0, 1], atol=0.05)


def run_here(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """Run the lesson in this process, where packages can be hidden from it."""
    monkeypatch.setattr(sys, "argv", ["autograd_basics.py", *args])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / "autograd_basics.py"), run_name="__main__")
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_lesson_needs_no_pytorch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run_here(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "torch.from_dlpack(jax): PyTorch is not installed, not shown" in printed
    assert "8. Two linear layers" in printed


@pytest.mark.parametrize(("name", "start"), [("h.png", b"\x89PNG"), ("h.svg", b"<?xml")])
def test_the_histogram_is_drawn(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    start: bytes,
) -> None:
    assert run_here(monkeypatch, "--output", str(tmp_path / name)) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_no_samples_are_refused() -> None:
    result = run("autograd_basics.py", "--samples", 0)
    assert result.returncode == 2
    assert "argument --samples: expected 1 or more, got 0" in result.stderr
