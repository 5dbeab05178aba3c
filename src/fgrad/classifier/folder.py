"""What a run leaves in its folder: how it was started, its metrics, results, figures, weights."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from fgrad import interop
from fgrad.classifier.evaluation import accuracy, confusion, precision, recall
from fgrad.classifier.nets import NAMES, Net, net
from fgrad.classifier.run import Record, Run
from fgrad.classifier.verdict import Verdict, judge
from fgrad.data import Dataset
from fgrad.files import has_locks, lock, open_regular, write_whole
from fgrad.random import Generator
from fgrad.types import Params

CHECKPOINTS: Final = "checkpoints"
"""The subfolder of the checkpoints."""

_DESCRIPTION, _METRICS, _MODEL = "run.json", "metrics.jsonl", "model.safetensors"


class Results(NamedTuple):
    """How a run ended.

    Attributes:
        verdict: Under- or overfitting, from the losses.
        best_epoch: The epoch whose parameters were kept, from 1.
        loss: Their mean cross entropy on the test images.
        matrix: Their confusion matrix on the test images.
        probabilities: Of each test image, of shape (N, classes).
    """

    verdict: Verdict
    best_epoch: int
    loss: float
    matrix: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]


class Model(NamedTuple):
    """A trained network, and how to make its inputs.

    Attributes:
        net: The network.
        params: Its parameters.
        description: What `describe` wrote.
    """

    net: Net
    params: Params
    description: Mapping[str, Any]


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other runs out of it for the while.

    Windows has no such lock: there the folder is only made.

    Args:
        folder: The folder.

    Yields:
        Nothing.

    Raises:
        ValueError: If another run has it.
        OSError: If it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, claim(Path(folder)):
        ...     pass
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not has_locks():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not lock(descriptor, wait=False):
            raise ValueError(f"folder: expected no other run in {folder}, got one")
        yield
    finally:
        os.close(descriptor)  # which a process that is killed does as well


def describe(folder: Path, description: Mapping[str, Any]) -> None:
    """Write how a run was started, for `described` and for `load`.

    Args:
        folder: The run's folder.
        description: What JSON can hold; `load` looks for `net`, `channels`, `classes`, `mean`,
            `std` and `extent`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     describe(Path(folder), {"net": "mlp"})
        ...     described(Path(folder))
        {'net': 'mlp'}
    """
    write_whole(folder / _DESCRIPTION, json.dumps(description, indent=1).encode())


def described(folder: Path) -> dict[str, Any] | None:
    """Return what `describe` wrote, or None if there is nothing.

    Args:
        folder: The run's folder.

    Returns:
        The description.

    Raises:
        ValueError: If the file is damaged.

    Example:
        See `describe`.
    """
    path = folder / _DESCRIPTION
    try:
        with open_regular(path) as file:
            description = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a run's description, got {error}") from None
    if not isinstance(description, dict):
        raise ValueError(
            f"{path}: expected a run's description, got {type(description).__name__} in its place"
        )
    return description


def write_metrics(folder: Path, records: list[Record]) -> None:
    """Write the metrics of all epochs so far, a line of JSON for each.

    Args:
        folder: The run's folder.
        records: As a `Run` keeps them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_metrics(Path(folder), [{"epoch": 1, "loss": 0.5}])
        ...     print((Path(folder) / "metrics.jsonl").read_text(), end="")
        {"epoch": 1, "loss": 0.5}
    """
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    write_whole(folder / _METRICS, lines.encode())


def finish(folder: Path, run: Run, test: Dataset) -> Results:
    """Judge a run's best parameters on the test images, and write all that is to be left.

    Args:
        folder: The run's folder; `model.safetensors`, `results.json`, `curves.png`,
            `confusion.png` and `examples.png` are written into it.
        run: The run, with one epoch or more done.
        test: The test images.

    Returns:
        The results.

    Raises:
        OSError: If a file cannot be written.
    """
    from fgrad import plots  # not before training: loading matplotlib takes a while

    interop.save_safetensors(folder / _MODEL, run.best)
    loss, probabilities = run.predict(test, run.best)
    matrix = confusion(test.labels, probabilities.argmax(1), len(test.classes))
    losses = {
        name: [record[name] for record in run.records] for name in ("loss", "validation_loss")
    }
    verdict = judge(
        losses["loss"],
        losses["validation_loss"],
        classes=len(test.classes),
        standard_error=run.records[-1]["validation_standard_error"],
    )
    results = Results(verdict, run.best_epoch, loss, matrix, probabilities)
    record = {
        "verdict": verdict._asdict(),
        "best_epoch": run.best_epoch,
        "test_loss": loss,
        "test_accuracy": accuracy(matrix),
        "confusion": matrix.tolist(),
    }
    write_whole(folder / "results.json", json.dumps(record, indent=1).encode())
    figures = {
        "curves": plots.curves(run.records, *verdict, best_epoch=run.best_epoch),
        "confusion": plots.confusion(matrix, test.classes),
        "examples": plots.examples(test.images, test.labels, probabilities, test.classes),
    }
    for name, figure in figures.items():
        write_whole(folder / f"{name}.png", plots.encode(figure, ".png"))
    return results


def illegible(classes: Sequence[str]) -> list[str]:
    r"""Return the classes whose names the figures cannot show for want of a font, in ASCII.

    Args:
        classes: The classes' names.

    Returns:
        Those of them, as the figures have them.

    Example:
        >>> illegible(["cat", chr(0x0378)])  # no letter at all
        ['\\u0378']
    """
    from fgrad import plots  # not before training: loading matplotlib takes a while

    drawn = plots.legible(classes)
    return [shown for name, shown in zip(classes, drawn, strict=True) if shown != name]


def summary(results: Results, run: Run) -> str:
    """Return a run's results as text: each class, the best epoch, the verdict.

    Args:
        results: As from `finish`.
        run: The run.

    Returns:
        Some lines, without a newline at the end.
    """
    width = max(5, *map(len, run.classes))
    lines = [f"{'class':{width}}  images  precision  recall"]
    rows = zip(
        run.classes,
        results.matrix.sum(1),
        precision(results.matrix),
        recall(results.matrix),
        strict=True,
    )
    for name, images, *rates in rows:
        words = ["-" if np.isnan(rate) else f"{rate:.1%}" for rate in rates]
        lines.append(f"{name:{width}}  {images:6}  {words[0]:>9}  {words[1]:>6}")
    best = run.records[results.best_epoch - 1]
    lines += [
        "",
        f"best epoch {results.best_epoch} of {run.epoch}: validation accuracy "
        f"{best['validation_accuracy']:.2%}, loss {best['validation_loss']:.4f}",
        f"test accuracy {accuracy(results.matrix):.2%}, loss {results.loss:.4f}, "
        f"{results.matrix.sum():,} images",
        f"{results.verdict.name}: {results.verdict.reason}",
    ]
    return "\n".join(lines)


def load(folder: str | os.PathLike[str]) -> Model:
    """Load the network that a finished run left.

    Args:
        folder: The run's folder.

    Returns:
        The network with its parameters.

    Raises:
        ValueError: If there is no finished run in it, or its files are damaged.

    Example:
        >>> load("no such folder")
        Traceback (most recent call last):
          ...
        ValueError: folder: expected a finished run in no such folder, got none
    """
    path = Path(folder)
    description = described(path)
    if description is None or not (path / _MODEL).exists():
        raise ValueError(f"folder: expected a finished run in {folder}, got none")
    _check_description(path / _DESCRIPTION, description)
    network = net(
        description["net"],
        channels=description["channels"],
        classes=len(description["classes"]),
    )
    like = jax.eval_shape(lambda: network.init(Generator(0)))
    return Model(network, interop.load_safetensors(path / _MODEL, like), description)


def _check_description(path: Path, description: Mapping[str, Any]) -> None:
    """Refuse a description that no network can be made of, by what is wrong in it."""

    def are_numbers(name: str) -> bool:
        values, channels = description.get(name), description.get("channels")
        return (
            isinstance(values, list)
            and len(values) == channels
            and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
        )

    classes, extent = description.get("classes"), description.get("extent")
    is_right = {
        f"net among {', '.join(NAMES)}": description.get("net") in NAMES,
        "channels 1 or 3": description.get("channels") in (1, 3),
        "classes, a list of names": isinstance(classes, list)
        and len(classes) > 0
        and all(isinstance(name, str) for name in classes),
        "mean, a number for each channel": are_numbers("mean"),
        "std, a number above 0 for each channel": are_numbers("std")
        and min(description["std"]) > 0,
        "extent, a number from 0 to 1, or null": extent is None
        or (isinstance(extent, int | float) and 0 <= extent <= 1),
    }
    if wrong := [words for words, right in is_right.items() if not right]:
        raise ValueError(f"{path}: expected a run's description, with {'; '.join(wrong)}")
