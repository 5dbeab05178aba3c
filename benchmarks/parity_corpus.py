"""Measure what `fgrad.parity` finds in ports with a mistake each, and write docs/parity_corpus.md.

It runs the tests of the corpus, so that the table is what they saw:
`python benchmarks/parity_corpus.py`, some minutes. It also draws docs/images/parity_*.svg.
"""

import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from measure import table

from fgrad.parity.page import charts
from fgrad.parity.recording import DTYPES
from fgrad.parity.report import excess, number
from fgrad.parity.results import Report

ROOT = Path(__file__).parents[1]
TESTS = [
    str(ROOT / "tests" / name)
    for name in ("test_parity_corpus.py", "parity/test_parity_corpus_torch.py")
]
PAGE = ROOT / "docs" / "parity_corpus.md"
IMAGES = ROOT / "docs" / "images"

Mistake: TypeAlias = Any
"""A row of the corpus, from tests/parity_corpus."""

PICTURES = {"forward": 0, "weights": -1}  # by their place on the page

HEADER = """\
# What fgrad.parity finds

Five PyTorch programs, a correct JAX port of each, and the port again with one mistake at a time.
Each mistake has to be reported at its step, its stage and its place, and under its name; where it
is none of the known ones, a name would be wrong. The correct ports must raise no alarm.

"""


class Recorder:
    """Collects, as a pytest plugin, what the tests saw."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.mistakes: list[tuple[Any, ...]] = []
        self.correct: list[tuple[Any, ...]] = []
        self.pictured: list[Report] = []
        self._lists: dict[str, list[Any]] = {
            "corpus": self.mistakes,
            "correct": self.correct,
            "pictured": self.pictured,
        }

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Take what a test kept."""
        for name, seen in getattr(item, "kept", {}).items():
            self._lists[name].append(seen)


def main() -> int:
    """Run the tests, write page and pictures; return pytest's exit status."""
    recorder = Recorder()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *TESTS], plugins=[recorder])
    if recorder.mistakes and recorder.correct:
        PAGE.write_text(HEADER + "\n".join(page(recorder)) + "\n")
    for report in recorder.pictured:
        drawn = list(charts(report))
        for name, place in PICTURES.items():
            (IMAGES / f"parity_{name}.svg").write_text(drawn[place] + "\n")
    return int(status)


def page(recorder: Recorder) -> Iterator[str]:
    """Yield the page's parts."""
    names = list(dict.fromkeys(net for net, *_ in recorder.mistakes))
    rows = [summary(name, recorder) for name in names]
    totals = [sum(int(row[i]) for row in rows) for i in range(1, 5)]
    yield table(
        ("program", "mistakes", "caught", "at the right place", "rightly named"),
        [*rows, ("all", *map(str, totals))],
    )
    yield "\n## Correct ports\n"
    yield table(
        ("program", "dtype", "seeds", "values compared", "alarms", "largest error of allowed"),
        [line for name, reports in recorder.correct for line in correct(name, reports)],
    )
    yield "\n## Mistakes"
    for name in names:
        yield f"\n### {name}\n"
        yield table(
            ("mistake", "step", "stage", "place", "named", "error", "allowed"),
            [row(*seen) for net, *seen in recorder.mistakes if net == name],
        )
    yield (
        f"\nMade by `python benchmarks/parity_corpus.py` on {platform.machine()}, CPU, with "
        f"PyTorch {version('torch')}, JAX {version('jax')}, optax {version('optax')}, Python "
        f"{platform.python_version()}."
    )


def summary(name: str, recorder: Recorder) -> tuple[str, ...]:
    """Return a program's row: how many mistakes, and how many were met in which respect."""
    seen = [
        (mistake, found, cause)
        for net, mistake, found, cause, _ in recorder.mistakes
        if net == name
    ]
    placed = [found == (mistake.step, mistake.stage, mistake.place) for mistake, found, _ in seen]
    named = [cause == mistake.cause for mistake, _, cause in seen]
    caught = [found is not None for _, found, _ in seen]
    return name, *(str(sum(each)) for each in ([True] * len(seen), caught, placed, named))


def correct(name: str, reports: Sequence[Report]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a correct port."""
    for dtype in DTYPES:
        compared = [c for report in reports for c in report.comparisons if c.dtype == dtype]
        alarms = sum(not c.ok for c in compared)
        largest = max(map(excess, compared))
        yield name, dtype, str(len(reports)), str(len(compared)), str(alarms), number(largest)


def row(
    mistake: Mistake, found: tuple[int, str, str] | None, cause: str | None, report: Report
) -> tuple[str, ...]:
    """Return a mistake's row; where the finding is not the expected one, both are shown."""
    if found is None or report.first is None:
        return mistake.what, "", "", "not caught", "", "", ""
    step, stage, place = found
    expected = (mistake.step, mistake.stage, mistake.place)
    wrong = "" if found == expected else f" (expected {', '.join(map(str, expected))})"
    named = cause or "none"
    if cause != mistake.cause:
        named += f" (expected {mistake.cause or 'none'})"
    return (
        mistake.what,
        str(step),
        stage,
        f"`{place}`{wrong}",
        named,
        number(report.first.error),
        number(report.first.tolerance),
    )


if __name__ == "__main__":
    sys.exit(main())
