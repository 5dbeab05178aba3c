"""What a check found: every value compared, the mismatches, and their cause."""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

from fgrad.files import write_whole

STAGES = (
    "initial weights",
    "batch",
    "forward",
    "loss",
    "gradient",
    "optimizer state",
    "update",
)
"""The stages of a training step, in the order in which a difference goes from one to the next."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One value of the port beside PyTorch's.

    Attributes:
        step: The training step, counted from 0.
        stage: Among `STAGES`.
        place: PyTorch's dotted name of the module, parameter or buffer; `"output"` for the model's
            output, `"loss"` for the loss, `"x"` and `"target"` for a batch.
        dtype: The precision of the run: `"float64"` or `"float32"`.
        error: The largest absolute difference; inf where a value is missing, NaN on one side only,
            or of another shape.
        relative: `error` over the largest absolute value that is expected.
        tolerance: What `error` was held to.
        ok: Whether it held, dtype and shape included.
        index: Where the largest difference is, in PyTorch's layout.
        expected: PyTorch's value there.
        actual: The port's value there.
        note: What else is to be said: another shape or dtype, where NaN is.
    """

    step: int
    stage: str
    place: str
    dtype: str
    error: float
    relative: float
    tolerance: float
    ok: bool
    index: tuple[int, ...]
    expected: float
    actual: float
    note: str


class Cause(NamedTuple):
    """A mistake that explains the first mismatch.

    Attributes:
        name: What it is, in the same words for every port: `"transposed weight"`.
        place: Where: a PyTorch name as in `Comparison`.
        explanation: What the port computes instead, in a sentence.
        fix: What to change, and where.
        error_before: The port's largest difference from PyTorch at that place.
        error_after: Its largest difference from what PyTorch would compute with the same mistake.
    """

    name: str
    place: str
    explanation: str
    fix: str
    error_before: float
    error_after: float


class Report(NamedTuple):
    """What a check found.

    Attributes:
        path: The recording.
        mode: `"restart"` or `"free"`.
        comparisons: Everything compared, in the order of the steps, their stages, their places.
        cause: The mistake that explains the first mismatch, or None.
        causes_tried: The names of the mistakes that were tried and do not explain it.
        warnings: What could hide a mistake: inputs that are symmetric, values not compared.
        settings: Versions and settings of the recording and of the check.
    """

    path: str
    mode: str
    comparisons: tuple[Comparison, ...]
    cause: Cause | None
    causes_tried: tuple[str, ...]
    warnings: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def mismatches(self) -> tuple[Comparison, ...]:
        """The comparisons that failed."""
        return tuple(comparison for comparison in self.comparisons if not comparison.ok)

    @property
    def first(self) -> Comparison | None:
        """The first mismatch, or None."""
        return next(iter(self.mismatches), None)

    @property
    def ok(self) -> bool:
        """Whether nothing differs by more than its tolerance."""
        return self.first is None

    def __str__(self) -> str:
        """Return the report as text: the verdict, the first difference, its cause, mismatches."""
        from fgrad.parity.report import LIMIT, to_text

        return to_text(self, limit=LIMIT)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report with every mismatch.

        Args:
            path: A file ending in `.html` (one page with charts, which needs nothing else) or in
                `.txt`.

        Raises:
            ValueError: If it has another ending.
            OSError: If it cannot be written.

        Example:
            >>> import tempfile
            >>> report = Report("run.parity", "free", (), None, (), (), {})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     report.save(f"{folder}/report.html")
        """
        from fgrad.parity.page import to_html
        from fgrad.parity.report import to_text

        write_as = {".html": to_html, ".txt": to_text}
        suffix = Path(path).suffix.lower()
        if suffix not in write_as:
            raise ValueError(f"path: expected a name ending in .html or .txt, got {str(path)!r}")
        write_whole(path, write_as[suffix](self).encode())
