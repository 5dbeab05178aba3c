"""Timing that survives a machine whose speed drifts: in turns, and as ratios pair by pair."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

WORTH_TIMING = 1.3  # what is slower than the best by more is left out after the first look


def in_turns(*programs: Callable[[], object], repetitions: int) -> list[list[float]]:
    """Time programs A B A B ..., after one run of each that does not count.

    Args:
        *programs: What to time; each must wait for its own result.
        repetitions: How often each one is timed.

    Returns:
        By program, its times in seconds.
    """
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(repetitions + 1):
        for program, seconds in zip(programs, times, strict=True):
            start = time.perf_counter()
            program()
            if turn:
                seconds.append(time.perf_counter() - start)
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of the paired ratios slow / fast, and their quartiles."""
    pairs = np.array(slow) / np.array(fast)
    low, median, high = np.percentile(pairs, [25, 50, 75])
    return float(median), float(low), float(high)


def against_the_best(
    program: Callable[[], object], others: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[str, list[float], list[float]]:
    """Time a program in turns with others.

    Args:
        program: What to time.
        others: By name, what it competes with; they run once first, to warm up.
        rounds: How often each is timed that is not far from the best of the others.

    Returns:
        The name and the times of the fastest of the others, and the program's times.
    """
    for other in others.values():
        other()
    looks = dict(zip(others, in_turns(*others.values(), repetitions=2), strict=True))
    limit = WORTH_TIMING * min(min(seconds) for seconds in looks.values())
    worth = [name for name in others if min(looks[name]) <= limit]
    own, *theirs = in_turns(program, *(others[name] for name in worth), repetitions=rounds)
    fastest = int(np.argmin([np.median(seconds) for seconds in theirs]))
    return worth[fastest], theirs[fastest], own


def duration(seconds: float) -> str:
    """Write a time with the unit that suits it."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def machine() -> str:
    """Return hardware and versions in one line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((ln.split(":")[1].strip() for ln in lines if ln.startswith("model name")), cpu)
        cpu += f", {sum(line.startswith('processor') for line in lines)} cores"
    packages = ("jax", "optax", "torch", "numpy")
    return f"{cpu}; Python {platform.python_version()}, " + ", ".join(
        f"{package} {version(package)}" for package in packages
    )
