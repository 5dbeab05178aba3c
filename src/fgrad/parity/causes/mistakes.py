"""Tables of mistakes: what PyTorch computes, with other arguments."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.causes.formulas import Arguments, Formula, computed

Changes: TypeAlias = Mapping[str, Sequence[Any]]
"""Other values of arguments, each with each; a function makes one of PyTorch's arguments."""

Table: TypeAlias = Mapping[tuple[str, str], Mapping[str, Changes]]
"""By a mistake's name and what to change: what the port does instead, and which arguments say so.

In a text `{torch.eps}` is PyTorch's argument of that name, `{port.eps}` the port's.
"""

# Rounding is imitated, and not where a device does it.
_SLACK = {"reduced precision": 0.05}


class Mistake(NamedTuple):
    """A row of a table, filled in.

    Attributes:
        name: As in `Cause`.
        fix: As in `Cause`.
        explanation: As in `Cause`.
        changes: The arguments that are others.
    """

    name: str
    fix: str
    explanation: str
    changes: Arguments


def mistakes(table: Table, right: Arguments, **words: str) -> Iterator[Mistake]:
    """Yield the mistakes that change something.

    Args:
        table: The mistakes; one that changes an argument that there is none of is left out.
        right: PyTorch's arguments.
        **words: What else the texts name.

    Yields:
        Each mistake.

    Example:
        >>> table = {("loss factor", "no factor"): {"{port.factor} for {torch.factor}": {
        ...     "factor": [0.5, 1.0, lambda torch: -torch.factor]}}}
        >>> for mistake in mistakes(table, {"factor": 1.0}):
        ...     print(mistake.explanation, mistake.changes)
        0.5 for 1.0 {'factor': 0.5}
        -1.0 for 1.0 {'factor': -1.0}
    """
    torch = SimpleNamespace(**right)
    for (name, fix), rows in table.items():
        for explanation, alternatives in rows.items():
            if not alternatives.keys() <= right.keys():
                continue
            # {"decay": [0, 1], "decoupled": [False, True]} is four mistakes.
            for values in itertools.product(*alternatives.values()):
                made = [value(torch) if callable(value) else value for value in values]
                changes = dict(zip(alternatives, made, strict=True))
                # A table names PyTorch's own setting too, where that is one of the usual ones.
                if all(np.array_equal(value, right[key]) for key, value in changes.items()):
                    continue
                filled = {"torch": torch, "port": SimpleNamespace(**{**right, **changes}), **words}
                yield Mistake(name, fix.format(**filled), explanation.format(**filled), changes)


def hypotheses(
    formula: Formula, table: Table, right: Arguments, **words: str
) -> Iterator[Hypothesis]:
    """Yield what a formula gives with each mistake, computed when it is asked for.

    Args:
        formula: The formula.
        table: As for `mistakes`.
        right: As for `mistakes`.
        **words: As for `mistakes`.

    Yields:
        The hypotheses.
    """
    for name, fix, explanation, changes in mistakes(table, right, **words):
        try:
            value = computed(formula, {**right, **changes})
        except (TypeError, ValueError):  # an axis that there is none of: nobody made that mistake
            continue
        yield Hypothesis(name, explanation, fix, value, _SLACK.get(name, 1e-3))
