"""The regression programs: the notes' numbers byte for byte, and what users may do wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import SCRIPTS, assert_refused, lines, run

from fgrad import strict

REFERENCES = Path(__file__).parent / "references"


def reference(name: str) -> list[str]:
    """Read what a note printed; its last line may be cut."""
    return (REFERENCES / name).read_text().splitlines()


def assert_same_lines(printed: list[str], note: list[str]) -> None:
    assert printed[: len(note) - 1] == note[:-1]
    assert printed[len(note) - 1].startswith(note[-1])


def test_linear_prints_the_note() -> None:
    printed = lines("train_linear.py")
    assert_same_lines(printed, reference("note_004_linear.txt"))
    assert len(printed) == 1 + 100 * 4 + 1
    assert printed[-2].startswith("progress: 99 ")
    assert printed[-1] == "predict (after training) 4 7.999998569488525"


def test_quadratic_prints_the_note() -> None:
    printed = lines("train_quadratic.py")
    assert printed[0] == "Predict (before training) 4 21.0"
    first = reference("note_004_quadratic_first_epochs.txt")
    assert_same_lines(printed[1:], first)
    last = reference("note_004_quadratic_last_epochs.txt")
    assert_same_lines(printed[printed.index(last[0]) :], last)
    assert len(printed) == 1 + 100 * 4 + 1
    assert printed[-1].startswith("Predict (after training) 4 8.54")


def python_floats(x: list[float], y: list[float], epochs: int, lr: float, w: float) -> list[str]:
    """Train y = w x in plain Python by the gradient of the mean squared error."""
    printed = [f"Predict (before training) 4 {w * 4}"]
    for epoch in range(epochs):
        cost: float = 0
        slope: float = 0
        for xi, yi in zip(x, y, strict=True):
            cost += (w * xi - yi) ** 2
            slope += 2 * xi * (w * xi - yi)
        w -= lr * (slope / len(x))
        printed.append(f"Epoch: {epoch} w= {w} loss= {cost / len(x)}")
    return [*printed, f"Predict (after training) 4 {w * 4}"]


@pytest.mark.parametrize(
    ("x", "y", "epochs", "lr", "w"),
    [
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 100, 0.01, 1.0),
        ([0.7], [-0.1], 1500, 0.03, 0.4),
        ([0.1, -1.7, 2.9, 1e-3, 7.7], [3.1, 0.4, -2.2, 9.0, 0.3], 300, 0.002, -2.5),
    ],
    ids=["note", "one sample", "five samples"],
)
def test_gd_is_plain_python_bit_for_bit(
    x: list[float], y: list[float], epochs: int, lr: float, w: float
) -> None:
    options = ["--x", *x, "--y", *y, "--epochs", epochs, "--lr", lr, "--init", w]
    assert lines("train_linear.py", "--method", "gd", *options) == python_floats(
        x, y, epochs, lr, w
    )


MODULE_RUNS = [
    pytest.param(kind, record, id=f"{kind}, seed {record['seed']}, n={len(record['x'])}")
    for kind in strict.PROCESSORS
    for record in json.loads((REFERENCES / f"linear_module_{kind}.json").read_text())["runs"]
]


@pytest.mark.parametrize(("processor", "record"), MODULE_RUNS)
def test_module_is_pytorch_bit_for_bit(processor: str, record: dict[str, list[float]]) -> None:
    options = ["--processor", processor, "--seed", record["seed"], "--lr", record["lr"]]
    options += ["--epochs", len(record["loss"])]
    data = ["--x", *record["x"], "--y", *record["y"]]
    weight, bias = record["final"]
    assert lines("train_linear.py", "--method", "module", *options, *data) == [
        *(f"{epoch} {loss}" for epoch, loss in enumerate(record["loss"])),
        f"w =  {weight}",
        f"b =  {bias}",
        f"y_pred =  {record['prediction']}",
    ]


def test_quiet_and_predict() -> None:
    options = [
        "--quiet",
        "--predict",
        "2.5",
        "--epochs",
        "1",
        "--x",
        "1",
        "--y",
        "0",
        "--lr",
        "0.5",
    ]
    assert lines("train_linear.py", *options) == [
        "predict (before training) 2.5 2.5",
        "predict (after training) 2.5 0.0",
    ]


def test_init_of_every_program() -> None:
    assert lines("train_linear.py", "--epochs", 0, "--init", -0.5)[0].endswith(" -2.0")
    assert lines("train_quadratic.py", "--epochs", 0, "--init", 1, -2, 3)[0].endswith(" 11.0")
    module = lines("train_linear.py", "--method", "module", "--epochs", 0, "--init", 0.5, -1e-3)
    assert module == ["w =  0.5", "b =  -0.0010000000474974513", "y_pred =  1.9989999532699585"]


@pytest.mark.parametrize(
    ("script", "options", "names"),
    [
        ("train_linear.py", [], ["weight"]),
        ("train_linear.py", ["--method", "module", "--seed", "3"], ["weight", "bias"]),
        ("train_quadratic.py", [], ["w1", "w2", "b"]),
    ],
)
def test_json_holds_everything(
    script: str, options: list[str], names: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    data = ["--x", 1, 2, 3, 4, "--y", 2, 4, 6, 9, "--lr", 0.003]
    printed = lines(script, *options, *data, "--json", path)
    record = json.loads(path.read_text())
    assert record["program"] == script
    assert record["arguments"]["lr"] == 0.003
    assert record["arguments"]["y"] == [2.0, 4.0, 6.0, 9.0]
    assert record["divergence"] is None
    assert {"jax", "optax", "fgrad", "python"} <= set(record["versions"])
    assert list(record["grads"]) == list(record["params"]) == names
    steps = 100 if options else 400
    for history in (record["loss"], *record["grads"].values(), *record["params"].values()):
        assert len(history) == steps
    assert str(record["loss"][-1]) in "\n".join(printed)
    # The optimum that descent nears, against the normal equations.
    design = [[1.0, 1.0, 1.0], [4.0, 2.0, 1.0], [9.0, 3.0, 1.0], [16.0, 4.0, 1.0]]
    columns = {"w1": 0, "w2": 1, "b": 2, "weight": 1, "bias": 2}
    matrix = np.array(design)[:, [columns[name] for name in names]]
    best = np.linalg.lstsq(matrix, np.array([2.0, 4.0, 6.0, 9.0]))[0]
    assert [record["least_squares"][name] for name in names] == pytest.approx(best, rel=1e-9)
    if names == ["weight"]:
        assert record["final"]["weight"] == pytest.approx(best[0], rel=0.05)


def test_json_says_which_seed_and_processor_were_used(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    lines("train_linear.py", "--method", "module", "--epochs", 1, "--json", path)
    arguments = json.loads(path.read_text())["arguments"]
    assert (arguments["seed"], arguments["processor"]) == (0, strict.processor())


def test_plots_are_whole_files(tmp_path: Path) -> None:
    picture, drawing = tmp_path / "loss.png", tmp_path / "loss.svg"
    lines("train_linear.py", "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for script, options in (
        ("train_linear.py", ["--method", "module"]),
        ("train_linear.py", ["--epochs", "0"]),
        ("train_quadratic.py", ["--quiet"]),
    ):
        lines(script, *options, "--plot", drawing)
        assert "least squares" in drawing.read_text()
    assert sorted(tmp_path.iterdir()) == [picture, drawing], "nothing half-written is left"


BAD = {
    "other lengths": (
        ["--x", "1", "2", "--y", "1"],
        "argument --y: expected as many numbers as --x, 2, got 1",
    ),
    "empty x": (["--x", "--y", "1"], "argument --x: expected at least one argument"),
    "word": (["--x", "one"], "argument --x: expected a number, got 'one'"),
    "nan": (["--y", "nan", "1", "2"], "argument --y: expected a finite number"),
    "inf": (["--x", "-inf", "1", "2"], "argument --x: expected a finite number"),
    "beyond float32": (["--x", "1e39", "1", "2"], "argument --x: expected a finite number"),
    "negative epochs": (["--epochs", "-1"], "argument --epochs: expected 0 or more, got -1"),
    "too many epochs": (
        ["--epochs", "3000000000"],
        "--epochs: expected at most 2147483647",
    ),
    "one file": (
        ["--plot", "a.svg", "--json", "./a.svg"],
        "--plot: expected another file",
    ),
    "long name": (["--json", "a" * 300], "cannot write 'aaaa"),
    "half an epoch": (["--epochs", "1.5"], "argument --epochs: expected an integer, got '1.5'"),
    "lr 0": (["--lr", "0"], "argument --lr: expected a number above 0, got '0'"),
    "negative lr": (["--lr", "-0.1"], "argument --lr: expected a number above 0, got '-0.1'"),
    "lr nan": (["--lr", "nan"], "argument --lr: expected a finite number"),
    "init": (["--init", "1", "2"], "argument --init: expected 1 numbers, got 2"),
    "no folder": (
        ["--plot", "/no/such/loss.png"],
        "cannot write '/no/such/loss.png': No such file",
    ),
    "folder": (["--json", "/"], "argument --json: expected a file, got the folder '/'"),
    "device": (["--json", "/dev/null"], "expected a file, got the device '/dev/null'"),
    "suffix": (["--plot", "loss.gif"], "expected a name ending in .png or .svg, got 'loss.gif'"),
    "seed": (["--seed", "1"], "argument --seed: expected --method module, got --method sgd"),
    "processor": (["--processor", "amd"], "argument --processor: expected --method module, got"),
    "big seed": (
        ["--method", "module", "--seed", str(2**64)],
        "argument --seed: expected -2**63 to",
    ),
    "method": (["--method", "adam"], "argument --method: invalid choice: 'adam'"),
    "unknown": (["--learning-rate", "1"], "unrecognized arguments: --learning-rate 1"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_usage(options: list[str], message: str) -> None:
    result = run("train_linear.py", *options)
    assert_refused(result, message)
    assert result.stderr.startswith("train_linear.py: error: ")


def test_divergence(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result = run("train_linear.py", "--lr", "10", "--json", path)
    assert result.returncode == 1
    assert result.stderr == (
        "train_linear.py: error: loss: expected finite values, got inf at epoch 3, step 2; "
        "try a smaller learning rate\n"
    )
    printed = result.stdout.splitlines()
    assert printed[-1].startswith("\tgrad: 2.0 4.0 ")
    assert len(printed) == 1 + 3 * 4 + 2
    record = json.loads(path.read_text())
    assert record["divergence"]["epoch"] == 3
    assert record["divergence"]["step"] == 2
    assert record["prediction"]["after"] is None
    assert len(record["loss"]) == 3 * 3 + 2
    assert record["grads"]["weight"][-1] == float(printed[-1].split()[-1])


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("train_linear.py", ["--lr", 10]),
        ("train_linear.py", ["--lr", 10, "--method", "gd", "--epochs", 1000]),
        ("train_linear.py", ["--lr", 10, "--method", "module"]),
        ("train_linear.py", ["--x", "1e30", "--y", "1e38", "--epochs", 2]),
        ("train_linear.py", ["--lr", "1e38", "--x", 3, "--y", 6, "--epochs", 1]),
        ("train_quadratic.py", ["--lr", "1e38", "--x", 3, "--y", 6, "--epochs", 1]),
        ("train_quadratic.py", ["--lr", "1e-30", "--x", "1e15", 2, "--y", 1, 2]),
    ],
)
def test_divergence_keeps_record_and_picture(
    script: str, options: list[object], tmp_path: Path
) -> None:
    picture, path = tmp_path / "run.png", tmp_path / "run.json"
    result = run(script, *options, "--plot", picture, "--json", path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert "expected finite values" in result.stderr
    assert "nan" not in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    record = json.loads(path.read_text())
    assert len(record["loss"]) == len(next(iter(record["params"].values())))


def test_gd_diverges_as_plain_python_does() -> None:
    printed = run("train_linear.py", "--method", "gd", "--lr", 10, "--epochs", 500).stdout
    plain = python_floats([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 79, 10.0, 1.0)
    assert printed.splitlines() == plain[: len(printed.splitlines())]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As under `train_linear.py | head -1`."""
    command = [sys.executable, str(SCRIPTS / "train_linear.py"), "--epochs", "20000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_sweep_finds_the_edge(tmp_path: Path) -> None:
    picture = tmp_path / "sweep.svg"
    printed = lines("sweep_learning_rates.py", "--runs", 2000, "--epochs", 60, "--plot", picture)
    words = printed[-1].split()
    found, theory = float(words[2]), float(words[5])
    # (1 - 2 lr)(1 - 8 lr)(1 - 18 lr) = 1, the first to leave -1 to 1.
    assert (1 - 2 * theory) * (1 - 8 * theory) * (1 - 18 * theory) == pytest.approx(1, abs=2e-3)
    assert found == pytest.approx(theory, rel=2e-3)
    assert "diverges from" in picture.read_text()
