"""Training a classifier and using it, as a user does; and stopping it in every way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint
import photographs
import programs
import pytest
from PIL import Image

from fgrad import data

TRAIN, PREDICT = "train_classifier.py", "predict.py"
SHORT = ("--net", "mlp", "--epochs", "12")


pytestmark = pytest.mark.xdist_group("classifier programs")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without options but where to."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    lines = programs.lines(TRAIN, "--out", out)
    assert sum(line.startswith("epoch ") for line in lines) == 30
    assert "images/s" in lines[5]
    return out


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run, and its compiled programs beside it."""
    out = tmp_path_factory.mktemp("short") / "whole"
    result = start(out, *SHORT)
    assert result.returncode == 0, result.stderr
    return out


def start(out: Path, *options: object, limit: str = "") -> subprocess.CompletedProcess[str]:
    """Train, with a cache of compiled programs that all of these tests share."""
    command = ["bash", "-c", f'{limit}exec "$@"', "bash", sys.executable]
    command += [str(programs.SCRIPTS / TRAIN), "--out", str(out)]
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.run(
        [*command, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


def final(out: Path) -> list[tuple[str, bytes]]:
    """Return the names and bytes of all arrays in the last checkpoint."""
    latest = max((out / "checkpoints").iterdir())
    handler = orbax.checkpoint.StandardCheckpointHandler()
    with orbax.checkpoint.Checkpointer(handler) as reader, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it goes to where it was saved from
        tree = reader.restore(latest / "arrays")
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), np.asarray(leaf).tobytes()) for path, leaf in leaves]


def assert_same_end(out: Path, other: Path) -> None:
    """Assert that two runs left the same, bit for bit."""
    assert final(out) == final(other)
    for name in ("metrics.jsonl", "model.safetensors", "results.json", "run.json"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name


def test_digits_reach_98_percent_and_leave_everything(digits: Path) -> None:
    results = json.loads((digits / "results.json").read_text())
    records = [json.loads(line) for line in (digits / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, 31))
    matrix = np.array(results["confusion"])
    assert matrix.sum(1).tolist() == np.bincount(data.digits().test.labels).tolist()
    assert results["test_accuracy"] == np.trace(matrix) / matrix.sum() >= 0.98
    best = max(records, key=lambda r: (r["validation_accuracy"], -r["validation_loss"]))
    assert results["best_epoch"] == best["epoch"]
    for name in ("curves", "confusion", "examples"):
        with Image.open(digits / f"{name}.png") as image:
            assert image.width > 1000
            assert len(set(np.asarray(image.convert("L")).ravel().tolist())) > 50
    left = {path.name for path in digits.iterdir()}
    assert left == {
        "checkpoints",
        "confusion.png",
        "curves.png",
        "examples.png",
        "metrics.jsonl",
        "model.safetensors",
        "results.json",
        "run.json",
    }


def test_pictures_of_held_out_digits_are_recognised(digits: Path, tmp_path: Path) -> None:
    """Dark ink on light coloured paper, large, and anywhere on the sheet."""
    test = data.digits().test
    names = []
    for i in range(40):
        ink = Image.fromarray(test.images[i, 0]).resize((200, 200), Image.Resampling.BILINEAR)
        sheet = Image.new("RGB", (400, 300), (240, 235, 220))
        sheet.paste((20, 30, 90), (10 + 4 * i, 90 - 2 * i), ink)
        names.append(tmp_path / f"{i}.{('png', 'jpg', 'bmp')[i % 3]}")
        sheet.save(names[-1])
    written = tmp_path / "all.json"
    lines = programs.lines(PREDICT, *names, "--run", digits, "--top", 2, "--json", written)
    assert len(lines) == 40
    right = 0
    for name, line, label in zip(names, lines, test.labels, strict=False):
        path, first, share, second, _ = line.split()
        assert path == str(name)
        right += first == str(label)
        chances = json.loads(written.read_text())[str(name)]
        assert sorted(chances, key=chances.__getitem__)[:-3:-1] == [first, second]
        assert share == f"{chances[first]:.2%}"
    assert right >= 37


CLEAN = 12  # of these few, one may be wrong
DISTURBED = [*photographs.HELD.items(), *photographs.DISTURBED.items()]


@pytest.mark.parametrize(
    "kind", [kind for _, kind in DISTURBED], ids=[name for name, _ in DISTURBED]
)
def test_disturbed_photographs_are_recognised(digits: Path, kind: photographs.Draw) -> None:
    """The first of those that docs/classifier.md counts 100 of."""
    thick = kind is photographs.DISTURBED["a very thick pen"]
    right, guesses, surely_wrong = photographs.judged(kind, digits, CLEAN)
    assert right >= CLEAN - (4 if thick else 1)
    assert guesses <= 1
    assert surely_wrong <= 1


@pytest.mark.parametrize("name", ["two digits", "two digits far apart"])
def test_several_things_are_said_to_make_a_guess(digits: Path, name: str) -> None:
    _, guesses, _ = photographs.judged(photographs.DUBIOUS[name], digits, CLEAN)
    assert guesses == CLEAN


def test_a_guess_is_named_and_no_class_is_sure(digits: Path, tmp_path: Path) -> None:
    images = data.digits().test.images[:, 0]
    photographs.two(images[0], np.random.default_rng(0)).save(tmp_path / "two.png")
    (line,) = programs.lines(PREDICT, tmp_path / "two.png", "--run", digits)
    assert line.endswith("  a guess: several separate things")
    assert float(line.split()[2].rstrip("%")) <= 55


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["no.png"], "no.png"),
        (["broken.png"], "broken.png: expected a whole picture"),
        (["blank.png"], "blank.png: expected something to see, got a picture of one colour"),
        (["blank.png", "--run", "nowhere"], "expected a finished run in nowhere, got none"),
    ],
    ids=["missing", "broken", "blank", "run"],
)
def test_pictures_and_runs_that_are_not_are_refused(
    digits: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    Image.new("L", (9, 9), 200).save(tmp_path / "blank.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "blank.png").read_bytes()[:40])
    command = [sys.executable, programs.SCRIPTS / PREDICT, "--run", digits, *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    programs.assert_refused(result, message)


def test_killed_at_twenty_moments_a_run_ends_as_if_never_stopped(
    short: Path, tmp_path: Path
) -> None:
    script = programs.SCRIPTS / TRAIN
    helper = Path(__file__).parent / "killed_runs.py"
    command = [sys.executable, helper, script, tmp_path, "20", "0", *SHORT, "--save-every", "0"]
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(short.parent / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["killed"] == 20
    assert report["in_writing"] > 0
    for out in report["outs"]:
        assert_same_end(Path(out), short)


def test_killed_within_its_first_checkpoint_a_run_begins_anew(short: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "checkpoints" / ".0000000001.partial").mkdir(parents=True)
    shutil.copy(short / "run.json", out)
    result = start(out, "--resume")
    assert (result.returncode, result.stderr) == (0, "")
    assert_same_end(out, short)


def test_a_damaged_checkpoint_is_said_so_and_the_one_before_used(
    short: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(short, out)
    latest = max((out / "checkpoints").iterdir())
    largest = max(latest.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-10])
    result = start(out, "--resume")
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{TRAIN}: warning: checkpoint {latest.name} is damaged: ")
    assert line.endswith("; using the one before")
    assert_same_end(out, short)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    script = programs.SCRIPTS / TRAIN
    command = [sys.executable, script, "--net", "mlp", "--epochs", "5000", "--out", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("epoch    3/5000"):
            pass
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout.read().splitlines()
        assert process.wait(60) == 130
    start, _, how = last.partition("; ")
    assert how == f"go on with: python {script} --resume --out {out}"
    words = start.replace(",", "").split()
    epoch, step = int(words[3]), int(words[-1])
    assert max((out / "checkpoints").iterdir()).name == f"{(epoch - 1) * 41 + step:010d}"


def test_divergence_stops_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    result = start(tmp_path / "run", *SHORT, "--lr", 1e30)
    assert result.returncode == 1
    assert "is no longer finite in epoch 1, step " in result.stderr
    assert f"the last good checkpoint is in {tmp_path / 'run' / 'checkpoints'}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["0000000000"]


def test_a_full_disk_is_one_line_and_nothing_half_written(tmp_path: Path) -> None:
    result = start(tmp_path / "run", *SHORT, limit="ulimit -f 300; ")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "error: cannot write the checkpoint " in result.stderr
    assert result.stderr.endswith("0000000000: File too large\n")
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "mnist", "--out", "new"], "folder: expected the folder it is in for mnist"),
        (["--dataset", "mnist", "--data-dir", "no", "--out", "new"], "got none at no"),
        (["--batch-size", "1299", "--out", "new"], "batch_size: expected 1 to the number of "),
        (["--out", "file"], "argument --out: expected a folder, got 'file'"),
        (["--out", "run"], "argument --out: run holds a run; go on with --resume, or choose"),
        (["--resume", "--out", "new"], "argument --resume: expected a run in new, got none"),
        (["--resume", "--out", "run", "--lr", "3"], "--lr: expected 0.02 as the run in run has"),
        (["--resume", "--out", "run", "--epochs", "9"], "--epochs: expected 12 as the run in run"),
    ],
    ids=["no-dir", "dir", "batch", "file", "taken", "nothing", "lr", "epochs"],
)
def test_bad_usage_is_one_line(
    short: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    shutil.copy(short / "run.json", tmp_path / "run")
    command = [sys.executable, programs.SCRIPTS / TRAIN, *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    programs.assert_refused(result, message)


def test_pictures_of_ones_own_go_on_from_where_they_were(tmp_path: Path) -> None:
    """The folder need not be given again; other versions are told; losses of exactly 0 judged."""
    rng = np.random.default_rng(0)
    for name, light in ((r"$\foo$", 0), (chr(0x0378), 200)):  # the latter in no font
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            pixels = light + rng.integers(0, 50, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    out = tmp_path / "run"
    options = ("--net", "mlp", "--epochs", "3", "--batch-size", "8")
    first = start(out, "--dataset", "folder", "--data-dir", tmp_path / "pictures", *options)
    assert first.returncode == 0, first.stderr
    assert first.stderr == (
        f"{TRAIN}: warning: no font here has all letters of \\u0378; drawn as numbers\n"
    )
    described = json.loads((out / "run.json").read_text())
    described["versions"]["jax"] = "0.9.1"
    (out / "run.json").write_text(json.dumps(described))
    again = start(out, "--resume")
    assert again.returncode == 0
    assert again.stderr.splitlines()[0] == (
        f"{TRAIN}: warning: the run had jax 0.9.1, now {jax.__version__}: from here on not bit for "
        "bit what it would have been"
    )
    assert "going on after epoch 3" in again.stdout


def test_a_finished_run_writes_nothing_that_is_there(short: Path, tmp_path: Path) -> None:
    """On a disk that takes no more files to speak of, in a folder that may not be written."""
    out = tmp_path / "run"
    shutil.copytree(short, out)
    curves = (out / "curves.png").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    out.chmod(0o555)  # which keeps all but root out
    result = start(out, "--resume", limit="ulimit -f 1; ")
    out.chmod(0o755)
    assert result.returncode == 0, result.stderr  # JAX warns of a cache that cannot be written
    assert "test accuracy" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    (out / "curves.png").unlink()
    (out / ".hidden").touch()
    result = start(out, "--resume")
    assert result.returncode == 0
    assert (out / "curves.png").read_bytes() == curves
    assert ".hidden" not in result.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "x"}, "epochs: expected an integer, got 'x'"),
        ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
        ({"lr": [1]}, "lr: expected a number, got '[1]'"),
        ({"seed": None}, "seed: expected an integer, got 'None'"),
        ({"flip": "yes"}, "flip: expected one of (True, False), got 'yes'"),
        ({"dataset": ["digits"]}, "dataset: expected one of ('digits', "),
        ({"net": 3}, "net: expected one of ('lenet', "),
    ],
    ids=["word", "zero", "list", "null", "flag", "data", "net"],
)
def test_settings_of_wrong_types_in_a_run_are_refused(
    short: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    described = json.loads((short / "run.json").read_text())
    described["settings"] |= changes
    (tmp_path / "run.json").write_text(json.dumps(described))
    result = programs.run(TRAIN, "--resume", "--out", tmp_path)
    programs.assert_refused(result, f"--resume: the run in {tmp_path} is damaged: {message}")
