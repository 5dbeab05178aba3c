"""The corpus recorded anew: the recordings are PyTorch's, and no correct port is blamed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("torch")

from parity_corpus import NETS, Net, check
from parity_corpus.torch_programs import record

from fgrad.parity.compare import Slot, compare
from fgrad.parity.recording import DTYPES, NumPy, Recording, Step, read

REFERENCES = Path(__file__).parents[1] / "references"
SEEDS = range(50)
Keep = Callable[[str, object], None]


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Keep:
    """What a test keeps is there for benchmarks/parity_corpus.py, in the same process."""
    request.node.kept = {}
    return request.node.kept.__setitem__


def values(step: Step) -> Iterator[tuple[str, NumPy]]:
    """Yield what a step computes, under the names of its noise."""
    for i, call in enumerate(step.calls):
        yield from ((f"forward/{i}/output/{j}", each) for j, each in enumerate(call.outputs))
    yield "loss", step.loss
    yield from ((f"gradient/{name}", each) for name, each in step.gradients.items())
    yield from ((f"after/{name}", each) for name, each in step.after.items() if each.ndim)


def facts(recording: Recording) -> tuple[object, ...]:
    """Return what is no number of a step: the program, and what it starts from."""
    calls = [[call.place for call in step.calls] for step in recording.steps["float64"]]
    return (
        *(recording.parameters, recording.modules, recording.loss, recording.optimizer, calls),
        *map(np.ndarray.tolist, jax.tree.leaves((recording.initial, recording.batches))),
        *[jax.tree.map(np.ndarray.tolist, step.masks) for step in recording.steps["float32"]],
    )


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_recorded_again(net: Net, tmp_path: Path) -> None:
    """From the same seed, up to what another processor rounds otherwise."""
    old, new = (read(p) for p in (REFERENCES / net.recording, record(net, 0, tmp_path / "run")))
    assert facts(new) == facts(old)
    for dtype in DTYPES:
        for i, (step, again) in enumerate(zip(old.steps[dtype], new.steps[dtype], strict=True)):
            for (name, value), (other, found) in zip(values(step), values(again), strict=True):
                assert name == other
                # The steps go on from their own weights, and so does what they round.
                compared = compare(Slot(i, "", name, dtype), value, found, 8 * step.drift[name])
                assert compared.ok, compared


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_no_alarm(net: Net, tmp_path: Path, keep: Keep) -> None:
    """The correct port, from fifty seeds, in both precisions."""
    reports = [check(net, record(net, seed, tmp_path / f"{seed}"), seed) for seed in SEEDS]
    keep("correct", (net.name, reports))
    for report in reports:
        assert report.ok, str(report)
        assert {comparison.dtype for comparison in report.comparisons} == {"float32", "float64"}


def test_running_free(tmp_path: Path, keep: Keep) -> None:
    """The correct port stays within what is allowed; a mistake moves on into the weights."""
    (net,) = (net for net in NETS if net.name == "transformer")
    (tanh,) = (mistake for mistake in net.mistakes if mistake.cause == "GELU approximation")
    path = record(net, 0, tmp_path / "run", steps=12)
    correct = check(net, path, mode="free")
    assert correct.ok, str(correct)
    wrong = check(net, path, 0, tanh.changes, mode="free")
    keep("pictured", wrong)
    assert wrong.first is not None
    assert (wrong.first.step, wrong.first.place) == (0, "gelu")
    restarted = check(net, path, 0, tanh.changes)
    updated = [{c.step for c in r.mismatches if c.stage == "update"} for r in (wrong, restarted)]
    assert updated == [set(range(12)), set()]
