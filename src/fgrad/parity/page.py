"""A report as one HTML page, which needs no other file."""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fgrad.parity.chart import Point, chart
from fgrad.parity.report import (
    HEADER,
    SUMMARY_HEADER,
    cause_lines,
    excess,
    first_lines,
    number,
    row,
    summary,
    verdict,
)
from fgrad.parity.results import Comparison, Report

STYLE = """\
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--faint:#d8dee4;--good:#1a7f37;\
--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--faint:#30363d;--good:#3fb950;\
--bad:#ff7b72}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:64rem;\
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}
.good{color:var(--good)}.bad{color:var(--bad)}pre{white-space:pre-wrap;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;\
font-variant-numeric:tabular-nums}
td,th{border-bottom:1px solid var(--faint);padding:.2rem .7rem;text-align:left;white-space:nowrap}
svg{width:100%;height:auto;margin:.5rem 0}summary{cursor:pointer}"""


def to_html(report: Report) -> str:
    """Return the report as a page.

    Args:
        report: From `check`.

    Returns:
        HTML without scripts and without links to other files: verdict, first difference, cause and
        mismatches, charts of the errors against depth and against the step, and every comparison.

    Example:
        >>> page = to_html(Report("run.parity", "free", (), None, (), (), {}))
        >>> "<script" in page, page.startswith("<!DOCTYPE html>")
        (False, True)
    """
    title = html.escape(verdict(report))
    body = [f'<h1 class="{"good" if report.ok else "bad"}">{title}</h1>']
    if report.warnings:
        body += ["<h2>Warnings</h2>", _items(report.warnings)]
    if report.first:
        lines = [*first_lines(report.first), *cause_lines(report)]
        body += ["<h2>First difference</h2>", f"<pre>{html.escape(chr(10).join(lines))}</pre>"]
    body += ["<h2>Errors</h2>", *charts(report)]
    if report.first:
        body += ["<h2>Mismatches</h2>", _table(HEADER, map(row, report.mismatches))]
    body += ["<h2>What was compared</h2>", _table(SUMMARY_HEADER, summary(report))]
    every = _table(HEADER, map(row, report.comparisons))
    body.append(f"<details><summary>Every comparison</summary>{every}</details>")
    body += ["<h2>Settings</h2>", _table(("name", "value"), _settings("", report.settings))]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def charts(report: Report) -> Iterator[str]:
    """Yield charts of the errors: against depth at one step, and against the step.

    Args:
        report: From `check`.

    Returns:
        SVG elements: every module's output and every gradient at the first step that differs (the
        first of all if none does); each step's loss and its worst updated weights.

    Example:
        >>> off = Comparison(0, "loss", "loss", "float64", 2.0, 2.0, 1.0, False, (), 1.0, 3.0, "")
        >>> len(list(charts(Report("a", "free", (off,), None, (), (), {}))))
        1
    """
    step = report.first.step if report.first else 0
    for stage, title in (
        ("forward", f"Forward: every output in call order, step {step}"),
        ("gradient", f"Gradients: every parameter, step {step}"),
    ):
        if depth := [c for c in report.comparisons if (c.step, c.stage) == (step, stage)]:
            yield chart(title, [_point(c.place, c) for c in depth])
    for stage, title in (
        ("loss", "Loss against the step"),
        ("gradient", "Each step's worst gradient"),
        ("update", "Each step's worst weights after the update"),
    ):
        worst: dict[tuple[int, str], Comparison] = {}
        for c in report.comparisons:
            key = c.step, c.dtype
            if c.stage == stage and (key not in worst or excess(c) > excess(worst[key])):
                worst[key] = c
        if worst:
            yield chart(title, [_point(str(c.step), c) for c in worst.values()])


def _point(label: str, comparison: Comparison) -> Point:
    detail = (
        f"step {comparison.step}, {comparison.place}, {comparison.dtype}: "
        f"{number(comparison.error)}, {number(comparison.tolerance)} allowed"
    )
    error = comparison.error if comparison.error >= 0 else float("inf")  # NaN is no match
    return Point(label, comparison.dtype, error, comparison.tolerance, comparison.ok, detail)


def _settings(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _settings(f"{prefix}{name} ", value)
        else:
            yield f"{prefix}{name}", str(value)


def _items(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in rows
    )
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
