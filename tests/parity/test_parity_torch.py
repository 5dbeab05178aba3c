"""Recording live: what is written, what is refused, and that the program is left as it was."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import parity_ports as ports
import pytest
from programs import SCRIPTS
from safetensors.numpy import load_file

from fgrad import parity
from fgrad.optim import sgd
from fgrad.parity import recording

torch = pytest.importorskip("torch")


def batch(*shape: int) -> tuple[Any, Any]:
    """Return inputs of a shape, and targets for three outputs."""
    return torch.randn(*shape), torch.randn(shape[0], 3)


def record(path: Path, **changes: Any) -> None:
    """Record a linear layer for two steps, or with other arguments."""
    torch.manual_seed(0)
    model = changes.pop("model", None) or torch.nn.Linear(3, 3)
    parameters = list(model.parameters()) or [torch.zeros(1, requires_grad=True)]
    arguments: dict[str, Any] = {
        "model": model,
        "loss": torch.nn.MSELoss(),
        "optimizer": torch.optim.SGD(parameters, lr=0.1),
        "batches": [batch(4, 3)],
        "steps": 2,
    }
    parity.record(**{**arguments, **changes}, path=path)


class Noisy(torch.nn.Module):
    """Adds noise of its own."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        """Return another value each time."""
        return self.fc(x) + torch.randn(3)


class WithNothing(torch.nn.Linear):
    """Has a parameter of size 0."""

    def __init__(self) -> None:
        """Add it."""
        super().__init__(3, 3)
        self.nothing = torch.nn.Parameter(torch.zeros(0))

    def forward(self, x: Any) -> Any:
        """Use it."""
        return super().forward(x) + self.nothing.sum()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_parameter_may_be_empty(momentum: float, tmp_path: Path) -> None:
    model = WithNothing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    record(tmp_path / "run", model=model, optimizer=optimizer)
    report = parity.check(
        tmp_path / "run",
        lambda params, x: x @ params["weight"].T + params["bias"][None] + params["nothing"].sum(),
        lambda y, target: ((y - target) ** 2).mean(),
        sgd(0.1, momentum=momentum),
        params=lambda state_dict: state_dict,
    )
    assert report.ok, report.first


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no parameters": ({"model": torch.nn.ReLU()}, "model: expected at least one parameter"),
    "non-deterministic": ({"model": Noisy()}, "in a second run, first at output"),
    "half": ({"model": torch.nn.Linear(3, 3).half()}, "expected float32 or float64, got weight"),
    "no steps": ({"steps": 0}, "steps: expected an integer of 1 or more, got 0"),
    "steps": ({"steps": 1.5}, "steps: expected an integer of 1 or more, got 1.5"),
    "no batches": ({"batches": []}, "batches: expected at least one pair"),
    "no pairs": ({"batches": [torch.zeros(3)]}, "batches: expected pairs .* got Tensor 0"),
    "no tensors": ({"batches": [([1.0], torch.zeros(1))]}, "got none in x of batch 0"),
    "loss": ({"loss": torch.nn.MSELoss(reduction="none")}, "scalar tensor, got shape \\(4, 3\\)"),
    "float loss": ({"loss": lambda y, t: 3.0}, "scalar tensor, got float"),
    "optimizer": ({"optimizer": 3}, "optimizer: expected a torch.optim.Optimizer, got int"),
    "closure": (
        {"optimizer": torch.optim.LBFGS},
        "optimizer: expected one whose step takes no closure",
    ),
    "another's": (
        {"optimizer": torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)},
        "optimizer: expected parameters of the model, got others",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_refusals(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    if changes.get("optimizer") is torch.optim.LBFGS:
        model = torch.nn.Linear(3, 3)
        changes = {"model": model, "optimizer": torch.optim.LBFGS(model.parameters())}
    with pytest.raises(ValueError, match=message):
        record(tmp_path / "run", **changes)
    assert list(tmp_path.iterdir()) == []


def test_the_program_is_left_as_it_was(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters())
    state = torch.get_rng_state()
    told: list[int] = []
    parity.record(
        model,
        torch.nn.MSELoss(),
        optimizer,
        [batch(4, 3)],
        path=tmp_path / "run",
        steps=2,
        progress=lambda done, total, _: told.append(done),
    )
    assert told == [0, 1, 2]
    assert not optimizer.state
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model[0]._forward_hooks
    assert torch.nn.functional.dropout.__module__ == "torch.nn.functional"
    moved = torch.get_rng_state()
    torch.set_rng_state(state)
    batch(4, 3)
    assert torch.equal(torch.get_rng_state(), moved)  # nothing was drawn but the batch


def test_the_recorded_run_is_pytorchs_own(tmp_path: Path) -> None:
    """Losses, weights and dropout's masks of the loop that a user writes."""
    layers = torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(8, 3)
    torch.manual_seed(1)
    model = torch.nn.Sequential(*layers)
    batches = [batch(4, 3), batch(2, 3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(2)
    parity.record(model, torch.nn.MSELoss(), optimizer, batches, path=tmp_path / "run", steps=3)
    steps = recording.read(tmp_path / "run").steps["float32"]
    torch.manual_seed(2)
    for i, step in enumerate(steps):
        x, target = batches[i % 2]
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        assert step.loss == loss.item()
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(step.after[name], value.numpy())


class Twice(torch.nn.Module):
    """Uses a layer twice, its weight tied to another, with a tuple in and out."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)
        self.head = torch.nn.Linear(3, 3)
        self.head.weight = self.fc.weight

    def forward(self, x: Any, y: Any) -> Any:
        """Return two outputs."""
        z = self.fc(torch.relu_(self.fc(x))) + y
        return z, self.head(z)


def test_repeated_calls_tied_weights_tuples_and_in_place(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = Twice()
    batches = [((torch.randn(4, 3), torch.randn(4, 3)), torch.randn(4, 3))]

    def loss(output: Any, target: Any) -> Any:
        return ((output[0] - target) ** 2).mean() + output[1].sum()

    path = tmp_path / "run"
    parity.record(
        model, loss, torch.optim.SGD(model.parameters(), lr=0.1), batches, path=path, steps=2
    )
    run = recording.read(path)
    assert run.parameters == ("fc.weight", "fc.bias", "head.bias")
    assert run.tied == {"head.weight": "fc.weight"}
    places = [call.place for call in run.steps["float32"][0].calls]
    assert places == ["fc", "fc#1", "head", "output"]

    import jax
    from jax.ad_checkpoint import checkpoint_name

    def apply(params: Any, x: Any) -> Any:
        x, y = x
        weight, fc = params["fc"]["weight"], params["fc"]["bias"][None]
        x = jax.nn.relu(checkpoint_name(x @ weight.T + fc, "fc"))
        z = checkpoint_name(x @ weight.T + fc, "fc") + y
        return z, z @ weight.T + params["head"]["bias"][None]

    report = parity.check(path, apply, loss, sgd(0.1))
    assert report.ok, report.first
    forward = [c.place for c in report.comparisons if c.stage == "forward" and c.step == 0]
    assert forward == [p for p in ("fc", "fc#1", "output", "output/1") for _ in range(2)]


# The normalisation cancels the convolution's bias. So its gradient is all rounding, which differs
# by processor, and Adam follows its sign: each step goes up or down by the rate. That moves the
# bias itself, what the convolution gives and the running mean, and no other number.
FREE = ("after/conv.bias", "after/bn.running_mean", "forward/0/output/0")
STEPS, RATE = 3, 0.01


def test_what_the_default_tests_read_is_what_this_pytorch_computes(tmp_path: Path) -> None:
    runpy.run_path(str(SCRIPTS / "recorders" / "parity.py"))["record"](tmp_path)
    for path in (ports.NET, ports.LINE):
        old, new = load_file(path), load_file(tmp_path / path.name)
        assert set(new) == set(old)
        for name, value in old.items():
            free = path == ports.NET and name.startswith("float32/") and name.endswith(FREE)
            atol = 2 * STEPS * RATE if free else 1e-5
            np.testing.assert_allclose(new[name], value, rtol=1e-4, atol=atol, err_msg=name)
