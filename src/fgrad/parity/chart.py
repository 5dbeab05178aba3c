"""Errors beside what was allowed, as a picture: one SVG, on a logarithmic scale."""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

WIDTH, LEFT, RIGHT = 760, 64, 16
INFINITY, TOP, BOTTOM, ZERO = 56, 72, 218, 234  # of infinity, the powers of ten, and zero
LABELS = 36  # more do not fit side by side


def _colours(paper: str, ink: str, faint: str, bad: str, **dtypes: str) -> str:
    rules = [
        f".errors .paper{{fill:{paper}}}.errors text{{fill:{ink}}}.errors .grid{{stroke:{faint}}}",
        f".errors .allowed{{stroke:{ink}}}.errors .bad{{stroke:{bad}}}",
    ]
    for dtype, colour in dtypes.items():
        rules.append(f".errors .{dtype} .mark{{fill:{colour}}}")
        rules.append(f".errors .{dtype} .path,.errors .{dtype} .allowed{{stroke:{colour}}}")
    return "".join(rules)


LIGHT = _colours("#fff", "#1f2328", "#d8dee4", "#cf222e", float64="#0969da", float32="#b35900")
DARK = _colours("#0d1117", "#e6edf3", "#30363d", "#ff7b72", float64="#58a6ff", float32="#f0a04b")
STYLE = (
    ".errors{font:12px system-ui,sans-serif}.errors .title{font-weight:600}"
    ".errors .path,.errors .allowed,.errors .bad{fill:none}.errors .path{opacity:.45}"
    ".errors .allowed{stroke-width:1.5;stroke-dasharray:5 3}.errors .bad{stroke-width:2}"
    f"{LIGHT}@media(prefers-color-scheme:dark){{{DARK}}}"
)


class Point(NamedTuple):
    """One error in a chart.

    Attributes:
        label: Where on the horizontal axis; points with the same label stand above each other.
        dtype: `"float64"` or `"float32"`.
        error: The error, 0 or more; it may be infinite.
        allowed: Its tolerance.
        ok: Whether it held.
        detail: What is shown of it under a resting pointer.
    """

    label: str
    dtype: str
    error: float
    allowed: float
    ok: bool
    detail: str


def chart(title: str, points: Sequence[Point]) -> str:
    """Return a chart of errors and of what was allowed.

    Args:
        title: What it shows.
        points: The errors; the horizontal axis has their labels in the order in which they come.

    Returns:
        An `<svg>` element that needs nothing else; it follows the reader's light or dark setting.

    Example:
        >>> svg = chart("Forward", [Point("fc1", "float64", 1e-16, 1e-12, True, "fc1")])
        >>> svg.startswith("<svg"), svg.count("<circle")
        (True, 2)
    """
    labels = list(dict.fromkeys(point.label for point in points))
    step = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    across = {label: LEFT + step * (i + 0.5) for i, label in enumerate(labels)}
    scale = Scale.of(value for point in points for value in (point.error, point.allowed))
    title = html.escape(title)
    names, height = _labels(across)
    parts = [
        f'<svg class="errors" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="20">{title}</text>',
        *_legend(list(dict.fromkeys(point.dtype for point in points))),
        *_scale(scale),
        *names,
    ]
    for dtype in dict.fromkeys(point.dtype for point in points):
        series = [point for point in points if point.dtype == dtype]
        parts += [
            f'<g class="{html.escape(dtype)}">',
            *_series(series, across, step, scale),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>"])


class Scale(NamedTuple):
    """Powers of ten from the bottom to the top of the chart, with 0 below and infinity above.

    Attributes:
        low: The smallest exponent.
        high: The largest.
    """

    low: int
    high: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Scale":
        """Return the scale that holds all values.

        Example:
            >>> Scale.of([0.0, 2e-9, 0.5, float("inf")])
            Scale(low=-9, high=0)
        """
        exponents = [math.log10(value) for value in values if 0 < value < math.inf]
        low = math.floor(min(exponents, default=-16))
        return cls(low, max(math.ceil(max(exponents, default=low)), low + 1))

    def height(self, value: float) -> float:
        """Return the vertical place of a value, in pixels from the chart's top.

        Example:
            >>> scale = Scale(-9, 0)
            >>> scale.height(1e-9) > scale.height(1.0) > scale.height(float("inf"))
            True
        """
        if value == 0:
            return ZERO
        if not value < math.inf:
            return INFINITY
        return BOTTOM - (math.log10(value) - self.low) / (self.high - self.low) * (BOTTOM - TOP)


def _legend(dtypes: Sequence[str]) -> Iterator[str]:
    x = LEFT + 6.0
    for dtype in dtypes:
        yield f'<g class="{dtype}">{_mark(dtype, x, 36)}</g>'
        yield f'<text x="{x + 9:g}" y="40">{dtype}</text>'
        x += 76
    yield f'<path class="allowed" d="M{x - 4:g} 36h26"/>'
    yield f'<text x="{x + 28:g}" y="40">allowed</text>'
    yield _cross(x + 92, 36)
    yield f'<text x="{x + 103:g}" y="40">mismatch</text>'


def _scale(scale: Scale) -> Iterator[str]:
    every = max(1, math.ceil((scale.high - scale.low) / 8))
    ticks = {10.0**power: f"1e{power}" for power in range(scale.low, scale.high + 1, every)}
    for value, text in {0.0: "0", **ticks, math.inf: "∞"}.items():
        y = scale.height(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'


def _labels(across: Mapping[str, float]) -> tuple[list[str], int]:
    """Return the labels below the chart, slanted if they are long, and where the picture ends."""
    shown = list(across.items())[:: math.ceil(len(across) / LABELS) or 1]
    names = [label if len(label) <= 22 else f"…{label[-21:]}" for label, _ in shown]
    longest = max(map(len, names), default=0)
    y = ZERO + 18
    if longest <= 3:
        lines = [f'<text x="{x:.1f}" y="{y}" text-anchor="middle">' for _, x in shown]
        height = y + 10
    else:
        lines = [
            f'<text x="{x:.1f}" y="{y}" text-anchor="end" transform="rotate(-40 {x:.1f} {y})">'
            for _, x in shown
        ]
        height = y + 10 + 5 * longest
    return [
        f"{line}{html.escape(name)}</text>" for line, name in zip(lines, names, strict=True)
    ], height


def _series(
    points: Sequence[Point], across: Mapping[str, float], step: float, scale: Scale
) -> Iterator[str]:
    allowed = "".join(
        f"M{across[point.label] - step / 2:.1f} {scale.height(point.allowed):.1f}h{step:.1f}"
        for point in points
    )
    yield f'<path class="allowed" d="{allowed}"/>'
    places = [(across[point.label], scale.height(point.error)) for point in points]
    yield f'<path class="path" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
    for point, (x, y) in zip(points, places, strict=True):
        mark = _mark(point.dtype, x, y) + ("" if point.ok else _cross(x, y))
        yield f"<g><title>{html.escape(point.detail)}</title>{mark}</g>"


def _mark(dtype: str, x: float, y: float) -> str:
    if dtype == "float64":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    return f'<rect class="mark" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'


def _cross(x: float, y: float) -> str:
    return f'<path class="bad" d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12"/>'
