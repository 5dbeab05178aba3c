"""The corpus: every mistake is caught where it is and named, and no correct port is blamed."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from parity_corpus import NETS, Mistake, Net
from parity_corpus.mlp import unnamed

from fgrad import parity

SEEDS = range(50)
Keep = Callable[[str, object], None]
CASES = [(net, mistake) for net in NETS for mistake in net.mistakes]


@pytest.fixture(autouse=True)
def as_users_have_it() -> Iterator[None]:
    """Set promotion as it is outside of these tests: optax's Adam needs it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Keep:
    """What a test keeps is there for benchmarks/parity_corpus.py, in the same process."""
    request.node.kept = {}
    return request.node.kept.__setitem__


def record(net: Net, seed: int, path: Path, *, steps: int | None = None) -> Path:
    """Record the PyTorch program from a seed."""
    torch.manual_seed(seed)
    model = net.model()
    batches = [
        (torch.from_numpy(x), torch.from_numpy(y))
        for x, y in net.batches(np.random.default_rng(seed))
    ]
    optimizer = net.optimizer(model.parameters())
    parity.record(model, net.criterion, optimizer, batches, path=path, steps=steps)
    return path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a recording by net."""
    folder = tmp_path_factory.mktemp("recordings")
    return {net.name: record(net, 0, folder / net.name) for net in NETS}


def check(
    net: Net,
    path: Path,
    seed: int = 0,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> parity.Report:
    """Check the net's port, with parts of it replaced."""
    port = dataclasses.replace(net.port, **changes)
    options = {**given, **port.options}
    if port.own_batches:
        options["batches"] = port.own_batches(net.batches(np.random.default_rng(seed)))
    return parity.check(path, port.apply, port.loss, port.optimizer, **options)


@pytest.mark.parametrize(
    ("net", "mistake"), CASES, ids=[f"{net.name}: {mistake.what}" for net, mistake in CASES]
)
def test_mistake(
    net: Net,
    mistake: Mistake,
    recordings: dict[str, Path],
    keep: Keep,
) -> None:
    """Caught at the right step, stage and place, and named."""
    # Compiling is what takes the time, and a mistake is one in float64 already, but for TF32.
    one = {"dtypes": ("float64",)}
    report = check(net, recordings[net.name], given=one, **mistake.changes)
    first = report.first
    found = first and (first.step, first.stage, first.place)
    cause = report.cause and report.cause.name
    keep("corpus", (net.name, mistake, found, cause, report))
    assert found == (mistake.step, mistake.stage, mistake.place)
    assert cause == mistake.cause


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_no_alarm(net: Net, tmp_path: Path, keep: Keep) -> None:
    """The correct port, from fifty seeds, in both precisions."""
    reports = [check(net, record(net, seed, tmp_path / f"{seed}"), seed) for seed in SEEDS]
    keep("correct", (net.name, reports))
    for report in reports:
        assert report.ok, str(report)
        assert {comparison.dtype for comparison in report.comparisons} == {"float32", "float64"}


def test_no_alarm_without_names(recordings: dict[str, Path]) -> None:
    """Outputs, losses, gradients and updates are compared all the same."""
    (net,) = (net for net in NETS if net.name == "MLP")
    report = check(net, recordings[net.name], apply=unnamed)
    assert report.ok, str(report)
    stages = {comparison.stage for comparison in report.comparisons}
    assert stages >= {"forward", "loss", "gradient", "optimizer state", "update"}
    assert {c.place for c in report.comparisons if c.stage == "forward"} == {"output"}


def test_running_free(tmp_path: Path, keep: Keep) -> None:
    """The correct port stays within what is allowed; a mistake moves on into the weights."""
    (net,) = (net for net in NETS if net.name == "transformer")
    (tanh,) = (mistake for mistake in net.mistakes if mistake.cause == "GELU approximation")
    path = record(net, 0, tmp_path / "run", steps=12)
    correct = check(net, path, given={"mode": "free"})
    assert correct.ok, str(correct)
    wrong = check(net, path, given={"mode": "free"}, **tanh.changes)
    keep("pictured", wrong)
    assert wrong.first is not None
    assert (wrong.first.step, wrong.first.place) == (0, "gelu")
    restarted = check(net, path, **tanh.changes)
    updated = [{c.step for c in r.mismatches if c.stage == "update"} for r in (wrong, restarted)]
    assert updated == [set(range(12)), set()]


def test_the_corpus_has_every_kind_of_mistake() -> None:
    assert len(CASES) >= 60
    assert {mistake.cause for _, mistake in CASES} >= {
        "transposed weight",
        "permuted weight",
        "flatten order",
        "default epsilon",
        "GELU approximation",
        "BatchNorm momentum",
        "biased variance",
        "loss reduction",
        "missing bias",
        "doubled bias",
        "padding",
        "tie gradient",
        "kink gradient",
        "softmax axis",
        "weight decay coupling",
        "momentum",
        "dampening",
        "Nesterov",
        "learning rate",
        "gradient accumulated",
        "reduced precision",
        "dropout mode",
        "BatchNorm mode",
        "other initial weights",
        "other shuffle",
        None,
    }
