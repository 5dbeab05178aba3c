"""One value beside another, and how far apart they may be."""

import math
from typing import NamedTuple

import numpy as np

from fgrad.parity.recording import NumPy
from fgrad.parity.results import Comparison

NOISE = 8.0
"""How many times PyTorch's own rounding noise a difference may be."""

FLOOR = 64.0
"""How many units in the last place of the largest value a difference may always be."""

# A parameter may have size 0. Where an output has, nothing was checked.
_OF_PARAMETERS = ("initial weights", "gradient", "optimizer state", "update")


class Tolerance(NamedTuple):
    """What differences are held to: measured where `rtol` and `atol` are None.

    Attributes:
        rtol: Relative to the expected value, element by element.
        atol: Added to it.
    """

    rtol: float | None = None
    atol: float | None = None


MEASURED = Tolerance()


class Slot(NamedTuple):
    """What is compared: the fields of a `Comparison` that say so."""

    step: int
    stage: str
    place: str
    dtype: str


def compare(
    slot: Slot,
    expected: NumPy,
    actual: NumPy,
    noise: float,
    tolerance: Tolerance = MEASURED,
    note: str = "",
) -> Comparison:
    r"""Compare two arrays element by element: nothing is broadcast, cast or left out.

    The measured tolerance is $8 n + 64 \epsilon \max|e|$ for the noise $n$ that was measured in
    this precision, and the expected values $e$.

    Args:
        slot: What is compared.
        expected: PyTorch's values.
        actual: The port's, in PyTorch's layout.
        noise: How far rounding moved the values in PyTorch.
        tolerance: Explicit tolerances.
        note: What to say besides.

    Returns:
        The comparison. NaN equals NaN, and an infinity the same infinity, at the same place.

    Example:
        >>> slot = Slot(0, "loss", "loss", "float32")
        >>> compare(slot, np.float32([1, 2]), np.float32([1, 3]), noise=1e-7).index
        (1,)
    """
    notes = [note] if note else []
    if actual.dtype != expected.dtype:
        notes.append(f"expected {expected.dtype}, got {actual.dtype}")
    if actual.shape != expected.shape:
        notes.append(f"expected shape {expected.shape}, got {actual.shape}")
        return Comparison(
            *slot, math.inf, math.inf, 0.0, False, (), math.nan, math.nan, "; ".join(notes)
        )
    if not expected.size:
        notes.append(f"nothing to compare in shape {expected.shape}")
        ok = slot.stage in _OF_PARAMETERS and actual.dtype == expected.dtype
        error = 0.0 if ok else math.inf
        return Comparison(*slot, error, error, 0.0, ok, (), math.nan, math.nan, "; ".join(notes))
    wanted, found = (np.asarray(value, np.float64) for value in (expected, actual))
    with np.errstate(invalid="ignore"):
        difference = np.abs(found - wanted)
    same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
    difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
    scale = float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted)))
    if tolerance.rtol is None and tolerance.atol is None:
        rounding = FLOOR * float(np.finfo(slot.dtype).eps) * scale
        allowed = np.full(wanted.shape, NOISE * noise + rounding)
    else:
        finite = np.where(np.isfinite(wanted), np.abs(wanted), 0.0)
        allowed = (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * finite
    worst = np.unravel_index(np.argmax(difference - allowed), wanted.shape)
    index = tuple(map(int, worst))
    error = float(difference[index])
    if math.isnan(wanted[index]) != math.isnan(found[index]):
        notes.append(f"NaN in {'PyTorch' if math.isnan(wanted[index]) else 'the port'} alone")
    return Comparison(
        *slot,
        error,
        error / scale if scale else (math.inf if error else 0.0),
        float(allowed[index]),
        bool(error <= allowed[index]) and actual.dtype == expected.dtype,
        index,
        float(wanted[index]),
        float(found[index]),
        "; ".join(notes),
    )
