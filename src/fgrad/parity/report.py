"""A report as text: verdict, first difference, cause, every mismatch, what was compared."""

import math
from collections.abc import Iterator, Sequence

from fgrad.parity.results import STAGES, Comparison, Report

HEADER = ("step", "stage", "place", "dtype", "error", "allowed", "at", "PyTorch", "port", "note")
LIMIT = 40  # mismatches in a terminal; the page has all
SUMMARY_HEADER = ("stage", "dtype", "values", "mismatches", "largest of allowed", "at")
_NUMBERS = {*HEADER, *SUMMARY_HEADER, "loss"} - {"stage", "place", "dtype", "at", "note"}


def to_text(report: Report, *, limit: int | None = None) -> str:
    """Return the report for a terminal, its tables aligned.

    Args:
        report: From `check`.
        limit: How many mismatches to list; all of them if None.

    Returns:
        Lines, the verdict first, without a newline at the end.

    Example:
        >>> off = Comparison(
        ...     0, "forward", "fc1", "float64", 0.5, 0.1, 1e-12, False, (0, 2), 5.0, 5.5, ""
        ... )
        >>> print(to_text(Report("run.parity", "restart", (off,), None, ("padding",), (), {})))
        MISMATCH: 1 of 1 comparisons with run.parity, each step restarted
        <BLANKLINE>
        first difference: step 0, forward, fc1 (float64)
          PyTorch has 5, the port 5.5, at [0, 2]: 0.5 apart, 1e-12 allowed
        cause: none of the 1 known mistakes explains it; tried: padding
        <BLANKLINE>
        step  stage    place  dtype    error  allowed  at      PyTorch  port  note
           0  forward  fc1    float64    0.5    1e-12  [0, 2]        5   5.5
        <BLANKLINE>
        stage    dtype    values  mismatches  largest of allowed  at
        forward  float64       1           1               5e+11  step 0, fc1
    """
    blocks = [[verdict(report)]]
    if report.warnings:
        blocks.append([f"warning: {warning}" for warning in report.warnings])
    if report.first:
        blocks.append([*first_lines(report.first), *cause_lines(report)])
        listed = report.mismatches[:limit]
        lines = aligned(HEADER, [row(comparison) for comparison in listed])
        if more := len(report.mismatches) - len(listed):
            lines.append(f"and {more} more: --all lists them, and the HTML page does")
        blocks.append(lines)
    blocks.append(aligned(SUMMARY_HEADER, summary(report)))
    return "\n\n".join("\n".join(lines) for lines in blocks)


def verdict(report: Report) -> str:
    """Return the verdict, as one line.

    Example:
        >>> verdict(Report("run.parity", "free", (), None, (), (), {}))
        'PARITY: all 0 comparisons with run.parity hold, running free'
    """
    how = {"restart": "each step restarted", "free": "running free"}[report.mode]
    count = len(report.comparisons)
    if report.ok:
        return f"PARITY: all {count} comparisons with {report.path} hold, {how}"
    return f"MISMATCH: {len(report.mismatches)} of {count} comparisons with {report.path}, {how}"


def first_lines(first: Comparison) -> Iterator[str]:
    r"""Yield where the first difference is, and how large.

    Example:
        >>> off = Comparison(0, "loss", "loss", "float64", 2.0, 2.0, 1e-9, False, (), 1.0, 3.0, "")
        >>> print(*first_lines(off), sep="\n")
        first difference: step 0, loss, loss (float64)
          PyTorch has 1, the port 3, at its only element: 2 apart, 1e-09 allowed
    """
    yield f"first difference: step {first.step}, {first.stage}, {first.place} ({first.dtype})"
    if math.isfinite(first.error) or not first.note:
        expected, actual = told_apart(first.expected, first.actual)
        yield (
            f"  PyTorch has {expected}, the port {actual}, at "
            f"{index(first.index) or 'its only element'}: {number(first.error)} apart, "
            f"{number(first.tolerance)} allowed"
        )
    if first.note:
        yield f"  {first.note}"


def cause_lines(report: Report) -> Iterator[str]:
    r"""Yield the cause, what to change and why it is the one; or what was tried.

    Example:
        >>> from fgrad.parity.results import Cause
        >>> cause = Cause("missing bias", "fc1", "No bias is added.", "Add it.", 0.5, 1e-16)
        >>> print(*cause_lines(Report("a", "free", (), cause, (), (), {})), sep="\n")
        cause: missing bias, at fc1
          No bias is added.
          change: Add it.
          PyTorch with this mistake is 1e-16 from the port, without it 0.5
    """
    if cause := report.cause:
        yield f"cause: {cause.name}, at {cause.place}"
        yield f"  {cause.explanation}"
        yield f"  change: {cause.fix}"
        yield (
            f"  PyTorch with this mistake is {number(cause.error_after)} from the port, without it "
            f"{number(cause.error_before)}"
        )
    elif tried := report.causes_tried:
        yield (
            f"cause: none of the {len(tried)} known mistakes explains it; tried: {', '.join(tried)}"
        )


def row(comparison: Comparison) -> tuple[str, ...]:
    """Return what is shown of a comparison, in the order of `HEADER`.

    Example:
        >>> row(Comparison(0, "loss", "loss", "float64", 1.0, 1.0, 4.0, True, (), 1, 2, ""))
        ('0', 'loss', 'loss', 'float64', '1', '4', '', '1', '2', '')
    """
    return (
        str(comparison.step),
        comparison.stage,
        comparison.place,
        comparison.dtype,
        number(comparison.error),
        number(comparison.tolerance),
        index(comparison.index),
        *told_apart(comparison.expected, comparison.actual),
        comparison.note,
    )


def summary(report: Report) -> list[tuple[str, ...]]:
    """Return, by stage and dtype, how much was compared and what came closest to its tolerance.

    Args:
        report: From `check`.

    Returns:
        Rows in the order of `SUMMARY_HEADER`; "largest of allowed" is an error over its tolerance.

    Example:
        >>> off = Comparison(0, "loss", "loss", "float64", 2.0, 2.0, 1.0, False, (), 1.0, 3.0, "")
        >>> summary(Report("a", "free", (off,), None, (), (), {}))
        [('loss', 'float64', '1', '1', '2', 'step 0, loss')]
    """
    rows: list[tuple[str, ...]] = []
    for stage in STAGES:
        of_stage = [c for c in report.comparisons if c.stage == stage]
        for dtype in dict.fromkeys(c.dtype for c in of_stage):
            compared = [c for c in of_stage if c.dtype == dtype]
            worst = max(compared, key=excess)
            rows.append(
                (
                    stage,
                    dtype,
                    str(len(compared)),
                    str(sum(not c.ok for c in compared)),
                    number(excess(worst)),
                    f"step {worst.step}, {worst.place}",
                )
            )
    return rows


def excess(comparison: Comparison) -> float:
    """Return how large the error is beside its tolerance: above 1, it is a mismatch.

    Example:
        >>> excess(Comparison(0, "loss", "loss", "float64", 1.0, 1.0, 4.0, True, (), 1, 2, ""))
        0.25
    """
    if comparison.error == 0:
        return 0.0
    return comparison.error / comparison.tolerance if comparison.tolerance else math.inf


def number(value: float) -> str:
    """Write a number with four digits.

    Example:
        >>> number(0.000123456), number(float("nan")), number(3)
        ('0.0001235', 'nan', '3')
    """
    return f"{value:.4g}"


def told_apart(expected: float, actual: float) -> tuple[str, str]:
    """Write two numbers with four digits, or with as many more as tell them apart.

    Example:
        >>> told_apart(2.3, 2.3000001)
        ('2.3', '2.3000001')
    """
    for digits in range(4, 18):
        texts = f"{expected:.{digits}g}", f"{actual:.{digits}g}"
        if texts[0] != texts[1] or expected == actual:
            break
    return texts


def index(position: Sequence[int]) -> str:
    """Write an index as NumPy takes it, a scalar's as nothing.

    Example:
        >>> index((0, 2))
        '[0, 2]'
    """
    return f"[{', '.join(map(str, position))}]" if position else ""


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table's lines, numbers to the right.

    Example:
        >>> aligned(("place", "error"), [("fc1.weight", "0.5"), ("loss", "12")])
        ['place       error', 'fc1.weight    0.5', 'loss           12']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in [header, *rows]
    ]
