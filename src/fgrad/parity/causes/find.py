"""Which known mistake explains a mismatch."""

from collections.abc import Sequence

from fgrad.parity.causes import forward, gradients, losses, start, statistics, updates
from fgrad.parity.causes.evidence import Evidence, Rule
from fgrad.parity.recording import NumPy
from fgrad.parity.results import Cause, Comparison
from fgrad.parity.running import Check
from fgrad.types import Batch


def find_cause(
    checked: Check,
    first: Comparison,
    comparisons: Sequence[Comparison],
    initial: Sequence[NumPy] | None,
    batches: Sequence[tuple[Batch, Batch]] | None,
) -> tuple[Cause | None, tuple[str, ...]]:
    """Return the mistake that explains the first mismatch, and what was tried.

    Args:
        checked: What was checked.
        first: The first mismatch.
        comparisons: All comparisons.
        initial: The port's own initial parameters.
        batches: Its own batches.

    Returns:
        The cause or None, and the names of the mistakes that were tried in vain.
    """
    evidence = Evidence(checked, first, comparisons)
    rules: dict[str, Rule] = {
        "initial weights": lambda evidence: start.explain_weights(evidence, initial or ()),
        "batch": lambda evidence: start.explain_batches(evidence, batches or ()),
        "forward": forward.explain,
        "loss": losses.explain,
        "gradient": gradients.explain,
        "optimizer state": updates.explain,
        "update": updates.explain,
    }
    if first.stage == "update" and first.place in checked.recording.buffers:
        rules["update"] = statistics.explain
    cause = rules[first.stage](evidence)
    tried = tuple(name for name in evidence.tried if cause is None or name != cause.name)
    return cause, tried
