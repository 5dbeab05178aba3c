"""Measure how close `fgrad.functional` is to an installed PyTorch, and write docs/functional.md.

It runs the live parity tests, so that what the table says is what the tests hold:
`python benchmarks/accuracy.py`, a few minutes.
"""

import inspect
import platform
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest

from fgrad import functional

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "parity"
PAGE = ROOT / "docs" / "functional.md"
DTYPES = ("float64", "float32", "bfloat16", "float16")

# Arguments whose every value but the default is refused.
REFUSED = ("size_average", "reduce", "inplace")

NOTES = {
    "conv2d": "padding also `'valid'` and `'same'`",
    "conv2d_relu_max_pool2d": (
        "`max_pool2d(relu(conv2d(...)), pool_size)`, [faster on a CPU](fast_convolution.md)"
    ),
    "cross_entropy": "class indices and class probabilities, extra dimensions",
    "dropout": "the distribution is PyTorch's, the numbers are the key's",
    "kl_div": "reduction also `'batchmean'`",
    "log_softmax": "`dim` is required",
    "nll_loss": "extra dimensions",
    "softmax": "`dim` is required",
}

HEADER = """\
# fgrad.functional

Every function has the name, the arguments, their order and their defaults of its PyTorch namesake,
and works under `jax.jit`, `jax.vmap` and `jax.grad`. Arguments ~~struck out~~ keep their place and
take nothing but their default: PyTorch has deprecated them, or JAX's arrays never change.
One function has no namesake: `conv2d_relu_max_pool2d` is three of PyTorch's in one.

The errors are the largest seen, in the output and in every gradient that PyTorch has, over as many
calls as are named: $|a - e|$ below 1, $|a - e| / |e|$ above, where $e$ is PyTorch's number.
Ties, kinks, infinities, NaN and empty batches are among the calls. The half types differ by how
often they round: fgrad computes in float32 and rounds once, PyTorch after each step.

Four things differ knowingly: `gelu` of infinity is infinity as in PyTorch's own kernels, where
oneDNN, which PyTorch calls on a CPU for contiguous float32 and half tensors of two numbers or
more, gives NaN; `relu` of -0.0 is 0.0, where PyTorch keeps the sign; `max_pool2d` gives the index 0
for a window that sees nothing of the image (dilated, in ceil mode), where PyTorch gives one outside
of it, and its gradient then writes there; and on a CPU, a NaN or an
infinity in an image may make NaN of a convolution's outputs that see it
[and of those next to them](fast_convolution.md), an infinity in a filter of those that see it.
Stricter than PyTorch: mixed dtypes, integer inputs to `relu` and pooling, and targets that would be
broadcast are refused.

"""


class Recorder:
    """Collects, as a pytest plugin, what the tests measure."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.errors: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the errors of one test."""
        if report.when == "call":
            for key, value in report.user_properties:
                if key == "parity" and isinstance(value, tuple):
                    name, dtype, error = value
                    self.errors[name, dtype].append(error)


def main() -> int:
    """Run the tests and write the page; return pytest's exit status."""
    recorder = Recorder()
    status = pytest.main(["-q", str(TESTS)], plugins=[recorder])
    if status == pytest.ExitCode.OK:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(HEADER + table(recorder) + footer())
    return int(status)


def table(recorder: Recorder) -> str:
    """Return a row for each function."""
    lines = [
        f"| function | arguments | calls | {' | '.join(DTYPES)} |",
        "| --- | --- | ---: |" + " ---: |" * len(DTYPES),
    ]
    for name in functional.__all__:
        errors = [recorder.errors[name, dtype] for dtype in DTYPES]
        calls = sum(len(measured) for measured in errors)
        cells = [f"{max(measured):.1e}" if measured else "" for measured in errors]
        lines.append(f"| `{name}` | {arguments(name)} | {calls or ''} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def arguments(name: str) -> str:
    """Return what the function takes, what it refuses struck out."""
    names = [
        f"~~{argument}~~" if argument in REFUSED else argument
        for argument in inspect.signature(getattr(functional, name)).parameters
    ]
    note = f"; {NOTES[name]}" if name in NOTES else ""
    return ", ".join(names) + note


def footer() -> str:
    """Return what the numbers were measured with."""
    return (
        f"\nMeasured by `python benchmarks/accuracy.py` on {platform.machine()}, CPU, with PyTorch "
        f"{version('torch')}, JAX {version('jax')}, NumPy {version('numpy')}, Python "
        f"{platform.python_version()}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
