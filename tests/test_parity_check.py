"""Ports of every style beside recorded PyTorch runs."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import parity_ports as ports
import pytest
from flax import linen, nnx

import fgrad
from fgrad import parity
from fgrad.parity import recording

SGD = {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.01}
check_net = functools.partial(
    parity.check,
    path=ports.NET,
    apply=ports.net,
    loss=ports.cross_entropy,
    optimizer=ports.ADAMW,
)
check_line = functools.partial(
    parity.check,
    path=ports.LINE,
    apply=ports.line,
    loss=ports.squares,
    optimizer=fgrad.optim.sgd(**SGD),
)


@pytest.mark.parametrize("mode", ["restart", "free"])
def test_a_right_port_is_right_everywhere(mode: Any) -> None:
    report = check_net(mode=mode)
    assert report.ok, report.first
    assert (report.cause, report.causes_tried, report.warnings) == (None, (), ())
    found = {(c.stage, c.place) for c in report.comparisons}
    assert {stage for stage, _ in found} == {
        "forward",
        "loss",
        "gradient",
        "optimizer state",
        "update",
    }
    names = recording.read(ports.NET).parameters
    assert {place for stage, place in found if stage == "gradient"} == set(names)
    forward = {place for stage, place in found if stage == "forward"}
    assert forward == {"conv", "bn", "pool", "fc1", "ln", "output"}
    buffers = {place for stage, place in found if stage == "update"} - set(names)
    assert buffers == {"bn.running_mean", "bn.running_var"}
    assert {c.dtype for c in report.comparisons} == {"float64", "float32"}
    assert {c.step for c in report.comparisons} == {0, 1, 2}


def test_a_jitted_port_without_names_is_compared_at_its_ends() -> None:
    @jax.jit
    def apply(params: Any, x: jax.Array) -> jax.Array:
        return x @ params["weight"].T + params["bias"][None]

    report = check_line(apply=apply)
    assert report.ok
    assert {c.place for c in report.comparisons if c.stage == "forward"} == {"output"}


class NNXNet(nnx.Module):
    """The network in Flax NNX, channels last."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draw weights."""
        self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        self.bn = nnx.BatchNorm(2, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.fc1 = nnx.Linear(12, 6, rngs=rngs)
        self.ln = nnx.LayerNorm(6, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.fc2 = nnx.Linear(6, 4, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the scores."""
        x = nnx.relu(self.bn(self.conv(x.transpose(0, 2, 3, 1))))
        x = nnx.max_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        x = self.ln(nnx.gelu(self.fc1(x * mask), approximate=False))
        return self.fc2(x)


class LinenNet(linen.Module):
    """The network in Flax Linen, its layers without names."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the scores."""
        mask = channels_last(jnp.asarray(recorded_mask(), x.dtype))
        x = linen.Conv(2, (3, 3))(x.transpose(0, 2, 3, 1))
        norm = linen.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)
        x = linen.max_pool(linen.relu(norm(x)), (2, 2), (2, 2)).reshape(len(x), -1)
        x = linen.gelu(linen.Dense(6)(x * mask), approximate=False)
        return linen.Dense(4)(linen.LayerNorm(epsilon=1e-5, use_fast_variance=False)(x))


def channels_last(mask: jax.Array) -> jax.Array:
    """Reorder what PyTorch's flatten makes of (2, 2, 3)."""
    return mask.reshape(-1, 2, 2, 3).transpose(0, 2, 3, 1).reshape(mask.shape)


def recorded_mask() -> Any:
    """Return the first step's mask, by which the one-step check below runs."""
    return recording.read(ports.NET).steps["float64"][0].masks["drop"]


@pytest.fixture
def as_flax_has_it() -> Any:
    """Flax's own layers broadcast and promote."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("as_flax_has_it")
def test_nnx_is_right_but_for_flax_s_running_variance() -> None:
    """Flax keeps the biased variance of a batch, PyTorch the unbiased one."""

    def apply(model: NNXNet, x: jax.Array, masks: Any) -> jax.Array:
        return model(x, channels_last(masks["drop"]))

    report = check_net(
        apply=apply,
        params=NNXNet(nnx.Rngs(0)),
        initial_weights=False,
        flattened={"fc1": (2, 2, 3)},
    )
    assert {(c.stage, c.place) for c in report.mismatches} == {("update", "bn.running_var")}
    assert report.cause is not None
    assert (report.cause.name, report.cause.place) == ("biased variance", "bn.running_var")
    assert report.cause.error_after < 1e-12 < report.cause.error_before
    forward = {c.place for c in report.comparisons if c.stage == "forward"}
    assert forward == {"conv", "bn", "fc1", "ln", "fc2", "output"}


@pytest.mark.usefixtures("as_flax_has_it")
def test_linen_s_layers_are_paired_by_their_order() -> None:
    net = LinenNet()
    variables = net.init(jax.random.key(0), jnp.ones((4, 1, 4, 6)))
    report = check_net(
        apply=net,
        params=variables,
        initial_weights=False,
        flattened={"fc1": (2, 2, 3)},
        dtypes=["float64"],
    )
    wrong = {(c.stage, c.place) for c in report.mismatches if c.step == 0}
    assert wrong == {("update", "bn.running_var")}
    assert "paired by their order: Dense_0 = fc1, Dense_1 = fc2" in report.warnings
    forward = {c.place for c in report.comparisons if c.stage == "forward"}
    assert forward == {"conv", "bn", "fc1", "ln", "fc2", "output"}


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    """A layer as Equinox has it: a pytree that is called, with a function among its leaves."""

    weight: Any
    bias: Any
    activation: Callable[[jax.Array], jax.Array] = dataclasses.field(metadata={"static": True})

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return one sample's output."""
        return self.activation(self.weight @ x + self.bias)


@pytest.mark.parametrize("as_shapes", [False, True])
def test_a_module_that_is_a_pytree(as_shapes: bool) -> None:
    layer = Layer(jnp.ones((3, 3)), jnp.ones(3), jnp.positive)
    options: dict[str, Any] = {"initial_weights": False}
    if as_shapes:
        layer, options = jax.eval_shape(lambda: layer), {}
    report = check_line(
        apply=lambda layer, x: jax.vmap(lambda row: layer(row))(x), params=layer, **options
    )
    assert report.ok, report.first


def test_other_initial_weights_are_found_and_the_rest_is_checked_all_the_same() -> None:
    report = check_line(params={"weight": jnp.ones((3, 3)), "bias": jnp.zeros(3)})
    assert {c.stage for c in report.mismatches} == {"initial weights"}
    assert report.cause is not None
    assert report.cause.name == "other initial weights"


def test_dtype_counts() -> None:
    def in_float32(params: Any, x: jax.Array) -> jax.Array:
        return ports.line(params, x).astype(jnp.float32)

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        return ports.squares(output, target.astype(output.dtype))

    report = check_line(apply=in_float32, loss=loss)
    assert report.first is not None
    assert "expected float64, got float32" in report.first.note
    assert check_line(apply=in_float32, loss=loss, dtypes=["float32"]).ok


def test_explicit_tolerances_take_the_place_of_the_measured() -> None:
    half = fgrad.optim.sgd(**{**SGD, "lr": 0.1 * (1 + 1e-7)})
    assert not check_line(optimizer=half).ok
    assert check_line(optimizer=half, rtol=1e-4, atol=1e-5).ok
    assert not check_line(optimizer=half, rtol=0.0, atol=0.0).ok


# A float64 number has 29 bits more than a float32 one.
SCALED = 2.0**-29


@pytest.mark.parametrize(
    ("mode", "moved", "dtype", "allowed"),
    [
        ("restart", {("noise", "float32"): 1e-3}, "float32", 8e-3),
        ("restart", {("noise", "float64"): 1e-9}, "float64", 8e-9),
        ("restart", {("noise", "float32"): 1e-3}, "float64", 8e-3 * SCALED),
        ("free", {("drift", "float32"): 1e-3}, "float32", 64e-3),
        ("free", {("drift", "float64"): 1e-9}, "float64", 64e-9),
        ("free", {("drift", "float32"): 1e-3}, "float64", 64e-3 * SCALED),
    ],
    ids=[
        f"{mode} {name}"
        for mode in ("restart", "free")
        for name in ("float32", "float64", "float64 by float32")
    ],
)
def test_what_rounding_may_move(
    mode: Any, moved: dict[tuple[str, str], float], dtype: str, allowed: float, tmp_path: Path
) -> None:
    """Eight times the noise, and where the port goes on from its own weights 64 times the drift.

    Noise that two perturbations of float64 happened to miss counts by what float32 has.
    """
    path = ports.measured(
        ports.LINE, tmp_path / "run", lambda kind, dtype, name: moved.get((kind, dtype), 0.0)
    )

    def off_by(distance: float) -> parity.Report:
        def loss(output: jax.Array, target: jax.Array) -> jax.Array:
            return ports.squares(output, target) + distance

        return check_line(path=path, loss=loss, mode=mode, dtypes=[dtype])

    for distance, holds in ((0.9 * allowed, True), (1.1 * allowed, False)):
        losses = [c for c in off_by(distance).comparisons if c.stage == "loss"]
        assert [c.ok for c in losses] == [holds] * 3, losses


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_the_correction_of_moments_loses_is_allowed(dtype: str, tmp_path: Path) -> None:
    """Adam divides by 1 - 0.999, of which rounding leaves three digits less: as noise, eight times.

    The bias starts at 0, so that its update is not small beside it. Only updates are held to that.
    """

    def noise(kind: str, dtype: str, name: str) -> float:
        return 0.0 if name.startswith("after/") else 1.0

    path = ports.measured(ports.NET, tmp_path / "run", noise)
    allowed = 8 * float(np.finfo(dtype).eps) / (1 - 0.999)
    for relative, holds in ((0.9 * allowed, True), (1.1 * allowed, False)):
        optimizer = optax.chain(ports.ADAMW, optax.scale(1 + relative))
        report = check_net(path=path, optimizer=optimizer, dtypes=[dtype])
        found = {(c.step, c.stage, c.place): c for c in report.comparisons}
        assert found[0, "update", "ln.bias"].ok == holds, found[0, "update", "ln.bias"]


@pytest.mark.parametrize("layer", ["bn", "ln"])
def test_a_normalisation_by_the_unbiased_variance_is_told(layer: str) -> None:
    """The variance over n - 1 is that over n, times n / (n - 1)."""

    def apply(params: Any, state: Any, x: jax.Array, masks: Any) -> tuple[jax.Array, Any]:
        return ports.net(params, state, x, masks, unbiased=layer)

    report = check_net(apply=apply)
    assert report.first is not None
    assert (report.first.stage, report.first.place) == ("forward", layer)
    assert report.cause is not None
    assert (report.cause.name, report.cause.place) == ("biased variance", layer)
    assert report.cause.error_after < 1e-12 < report.cause.error_before


def test_free_running_shows_how_an_error_grows() -> None:
    slower = fgrad.optim.sgd(**{**SGD, "lr": 0.099})
    report = check_line(optimizer=slower, mode="free", dtypes=["float64"])
    errors = [c.error for c in report.mismatches if (c.stage, c.place) == ("update", "weight")]
    assert errors == sorted(errors)
    assert len(errors) == 3
    restarted = check_line(optimizer=slower, dtypes=["float64"])
    assert {c.stage for c in restarted.mismatches} == {"update"}
    for each in (report, restarted):
        assert each.cause is not None
        assert each.cause.name == "learning rate"
        assert "0.099" in each.cause.explanation


@pytest.mark.parametrize(
    "schedule",
    [
        lambda count: jnp.where(count == 0, -0.1, -0.08),
        optax.linear_schedule(-0.1, -0.08, transition_steps=1),
        optax.polynomial_schedule(-0.1, -0.08, 2, transition_steps=1),
    ],
    ids=["where", "linear", "polynomial"],
)
def test_momentum_kept_otherwise_is_no_mistake(schedule: optax.Schedule) -> None:
    """A learning rate before the momentum makes other buffers, and the same updates.

    Optax's own schedules divide an int32, which in JAX gives a float32 in a float64 run as well.
    """
    optimizer = optax.chain(
        optax.add_decayed_weights(0.01),
        optax.scale_by_schedule(schedule),
        optax.trace(0.9),
    )
    report = check_line(optimizer=optimizer)
    assert report.ok, report.first
    notes = {c.note for c in report.comparisons if c.stage == "optimizer state"}
    assert notes == {"kept otherwise, the updates agree"}


def test_the_precision_of_products_is_told() -> None:
    with jax.default_matmul_precision("highest"):
        assert check_line(dtypes=["float64"]).settings["matmul precision"] == "highest"


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    check_line(progress=lambda done, total, _: told.append((done, total)))
    assert told == [(i + 1, 6) for i in range(6)]
    told.clear()
    twice = ["float32", "float32"]
    check_line(dtypes=twice, progress=lambda done, total, _: told.append((done, total)))
    assert told == [(i + 1, 3) for i in range(3)]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "mode": ({"mode": "fast"}, "mode: expected 'restart' or 'free', got 'fast'"),
    "dtypes": ({"dtypes": ["float16"]}, "dtypes: expected some of float64, float32"),
    "rtol": ({"rtol": -1.0}, "rtol: expected a finite number of 0 or more, got -1.0"),
    "loss": ({"loss": 3}, "loss: expected a function, got int"),
    "optimizer": ({"optimizer": 3}, "optimizer: expected an optax transformation, got int"),
    "apply": ({"apply": 3}, "apply: expected a function or a module, got int"),
    "no params": ({"params": {}}, "params: expected at least one floating-point array"),
    "missing": ({"params": {"weight": np.zeros((3, 3))}}, "missing: bias of shape \\(3,\\)"),
    "extra": (
        {"params": {"weight": np.zeros((3, 3)), "bias": np.zeros(3), "scale": np.zeros(7)}},
        "extra: scale of shape \\(7,\\)",
    ),
    "shape": (
        {"params": {"weight": np.zeros((3, 3)), "bias": np.zeros(2)}},
        "shape: bias, expected that of bias, \\(3,\\), got \\(2,\\)",
    ),
    "mapping": (
        {"mapping": {"kernel": "weight"}},
        "mapping: expected paths of the port, bias, weight, got 'kernel'",
    ),
    "names": (
        {"names": {"layer": "fc1"}},
        "names\\['layer'\\]: expected the name of a module, among output, got 'fc1'",
    ),
    "outputs": (
        {"apply": lambda p, x: (ports.line(p, x), x)},
        "apply: expected 1 outputs, got 2",
    ),
    "output's shape": (
        {"apply": lambda p, x: ports.line(p, x)[:, :2]},
        "apply: expected an output of shape \\(4, 3\\), got \\(4, 2\\)",
    ),
    "broadcast": (
        {"apply": lambda p, x: ports.line(p, x)[:1]},
        "apply: expected an output of shape \\(4, 3\\), got \\(1, 3\\)",
    ),
    "failing": (
        {"apply": lambda p, x: x @ p["kernel"]},
        "apply: expected a port that takes the recorded batch, got KeyError: 'kernel'",
    ),
    "loss's shape": (
        {"loss": lambda y, target: (y - target) ** 2},
        "loss: expected a floating-point scalar, got float64 of shape \\(4, 3\\)",
    ),
    "batches": ({"batches": []}, "batches: expected 3 pairs"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_line(**options)


def test_a_name_that_is_no_module_s() -> None:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        return jax.ad_checkpoint.checkpoint_name(ports.line(params, x), "outputs")

    with pytest.raises(ValueError, match=r"checkpoint_name: .* such as output, got 'outputs'"):
        check_line(apply=apply)
