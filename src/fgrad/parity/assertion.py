"""A check in one line of a test."""

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import optax

from fgrad.parity.checking import check
from fgrad.parity.results import Report
from fgrad.types import Params

Option: TypeAlias = Any


def assert_parity(
    path: str | os.PathLike[str],
    apply: Params,
    loss: Callable[..., jax.Array],
    optimizer: optax.GradientTransformation,
    **options: Option,
) -> Report:
    """Check a port, and fail with the report if it differs.

    Args:
        path: The recording.
        apply: As for `check`.
        loss: As for `check`.
        optimizer: As for `check`.
        **options: As for `check`.

    Returns:
        The report.

    Raises:
        AssertionError: If something differs; its message is the report.
        ValueError: As `check`.

    Example:
        See `fgrad.parity.record`, whose example it makes one line:
        `assert_parity(path, apply, loss, optax.sgd(0.1))`.
    """
    report = check(path, apply, loss, optimizer, **options)
    if not report.ok:
        raise AssertionError(str(report))
    return report
