"""The corpus on its recordings: every mistake is caught where it is, and named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity_corpus import NETS, Mistake, Net, check
from parity_corpus.mlp import unnamed

from fgrad.parity.causes.layers import of_call
from fgrad.parity.recording import Call, Step

REFERENCES = Path(__file__).parent / "references"
CASES = [(net, mistake) for net in NETS for mistake in net.mistakes]


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """What a test keeps is there for benchmarks/parity_corpus.py, in the same process."""
    request.node.kept = {}
    return request.node.kept.__setitem__


@pytest.mark.parametrize(
    ("net", "mistake"), CASES, ids=[f"{net.name}: {mistake.what}" for net, mistake in CASES]
)
def test_mistake(net: Net, mistake: Mistake, keep: Callable[[str, object], None]) -> None:
    """Caught at the right step, stage and place, and named."""
    # Compiling is what takes the time, and a mistake is one in float64 already, but for TF32.
    report = check(net, REFERENCES / net.recording, 0, mistake.changes, dtypes=("float64",))
    first = report.first
    found = first and (first.step, first.stage, first.place)
    cause = report.cause and report.cause.name
    keep("corpus", (net.name, mistake, found, cause, report))
    assert found == (mistake.step, mistake.stage, mistake.place)
    assert cause == mistake.cause


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_no_alarm(net: Net) -> None:
    """The correct port, in both precisions."""
    report = check(net, REFERENCES / net.recording)
    assert report.ok, str(report)
    assert {comparison.dtype for comparison in report.comparisons} == {"float32", "float64"}


def test_no_alarm_without_names() -> None:
    """Outputs, losses, gradients and updates are compared all the same."""
    (net,) = (net for net in NETS if net.name == "MLP")
    report = check(net, REFERENCES / net.recording, 0, {"apply": unnamed})
    assert report.ok, str(report)
    stages = {comparison.stage for comparison in report.comparisons}
    assert stages >= {"forward", "loss", "gradient", "optimizer state", "update"}
    assert {c.place for c in report.comparisons if c.stage == "forward"} == {"output"}


@pytest.mark.parametrize(
    ("kind", "config", "shape", "found"),
    [
        ("Softmax", {"dim": 1}, (2, 3), {"softmax axis", "attention scale"}),
        (
            "Conv2d",
            {"stride": [1, 1], "padding": [1, 1], "padding_mode": "zeros", "dilation": [1, 1]},
            (3, 4, 4),
            set(),
        ),
    ],
    ids=["no third axis", "no axis of samples"],
)
def test_what_a_layer_cannot_compute_is_not_tried(
    kind: str, config: dict[str, Any], shape: tuple[int, ...], found: set[str]
) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    entries = {"one.weight": np.ones((3, 3, 3, 2))} if kind == "Conv2d" else {}
    call = Call("one", "one", (x,), (x,), (0.0,))
    step = Step(0, (call,), None, x.sum(), {}, {}, entries, entries, {}, {}, {})
    tried = of_call(call, {"kind": kind, "config": {**config, "groups": 1}}, step)
    assert {each.name for each in tried} == found


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
