"""The training core: one pure step, and runs of it as one compiled program."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

import fgrad
from fgrad import functional as F
from fgrad.models import linear, quadratic
from fgrad.types import Array, Batch, Params

X = np.float32([1.0, 2.0, 3.0])
Y = np.float32([2.0, 4.0, 6.0])


def squared_error(w: Array, batch: Batch) -> Array:
    x, y = batch
    return (w * x - y) ** 2


def run(
    optimizer: optax.GradientTransformation, epochs: int, metrics: tuple[str, ...] = ("loss",)
) -> tuple[fgrad.TrainState, Any]:
    step = fgrad.make_step(squared_error, optimizer, metrics=metrics)
    return fgrad.fit(step, fgrad.init_state(np.float32(1.0), optimizer), (X, Y), epochs=epochs)


numbers = st.floats(-4, 4, width=32)


@settings(max_examples=25)
@given(
    data=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6),
    start=numbers,
    epochs=st.integers(0, 4),
)
def test_strict_run_equals_numpy_bit_for_bit(
    data: list[tuple[float, float]], start: float, epochs: int
) -> None:
    x, y = np.array(data, np.float32).T
    optimizer = optax.sgd(0.01)
    step = fgrad.make_step(squared_error, optimizer, metrics=("loss", "grads", "params"))
    state = fgrad.init_state(np.float32(start), optimizer)
    final, history = fgrad.fit(step, state, (x, y), epochs=epochs, strict=True)

    w, rate, tiny = np.float32(start), np.float32(0.01), np.finfo(np.float32).tiny
    losses, grads, params = [], [], []
    for _ in range(epochs):
        for xi, yi in zip(x, y, strict=True):
            error = w * xi - yi
            losses.append(error * error)
            grads.append(2 * error * xi)
            params.append(w)
            w = w - rate * grads[-1]
    # XLA flushes subnormal numbers to zero: they are compared as such.
    np.testing.assert_allclose(np.ravel(history["loss"]), losses, rtol=0, atol=tiny)
    np.testing.assert_allclose(np.ravel(history["grads"]), grads, rtol=0, atol=tiny)
    np.testing.assert_allclose(np.ravel(history["params"]), params, rtol=0, atol=tiny)
    np.testing.assert_allclose(final.params, w, rtol=0, atol=tiny)
    assert final.step == epochs * len(x)


@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd(0.05, momentum=0.9, nesterov=True), optax.adam(0.1), optax.lion(0.01)],
    ids=["sgd", "adam", "lion"],
)
def test_any_optax_optimizer_trains_as_in_a_loop(optimizer: optax.GradientTransformation) -> None:
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes dtypes
        _train_as_in_a_loop(optimizer)


def _train_as_in_a_loop(optimizer: optax.GradientTransformation) -> None:
    state, history = run(optimizer, epochs=3)
    w = jnp.float32(1.0)
    opt_state = optimizer.init(w)
    losses = []
    for _ in range(3):
        for x, y in zip(X, Y, strict=True):
            loss, grad = jax.value_and_grad(squared_error)(w, (x, y))
            updates, opt_state = optimizer.update(grad, opt_state, w)
            w = optax.apply_updates(w, updates)
            losses.append(loss)
    np.testing.assert_allclose(state.params, w, rtol=1e-5)
    np.testing.assert_allclose(np.ravel(history["loss"]), losses, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metrics", [(), ("loss",), ("grads", "loss"), ("loss", "grads", "params")])
def test_history_is_what_was_asked_for(metrics: tuple[str, ...]) -> None:
    _, history = run(optax.sgd(0.01), epochs=4, metrics=metrics)
    assert {name: values.shape for name, values in history.items()} == dict.fromkeys(
        metrics, (4, 3)
    )


def test_no_memory_for_a_history_not_asked_for() -> None:
    def memory(epochs: int, metrics: tuple[str, ...]) -> int:
        optimizer = optax.sgd(0.01)
        step = fgrad.make_step(squared_error, optimizer, metrics=metrics)
        state = fgrad.init_state(np.float32(1.0), optimizer)
        program = jax.jit(lambda state: fgrad.fit(step, state, (X, Y), epochs=epochs))
        analysis = program.lower(state).compile().memory_analysis()
        return int(analysis.output_size_in_bytes + analysis.temp_size_in_bytes)

    assert memory(100_000, ()) == memory(10, ())
    assert memory(100_000, ("loss",)) - memory(10, ("loss",)) >= 99_990 * 3 * 4


def test_weights_are_updated_where_they_lie() -> None:
    params = {
        "inner": {"weight": jnp.ones((96, 48)), "bias": jnp.zeros(96)},
        "outer": {"weight": jnp.ones((3, 96)), "bias": jnp.zeros(3)},
    }

    def loss_fn(params: Params, x: Array) -> Array:
        hidden = F.relu(F.linear(x, **params["inner"]))
        return F.cross_entropy(F.linear(hidden, **params["outer"]), jnp.zeros(8, jnp.int32))

    optimizer = optax.sgd(0.01, momentum=0.9)
    step = fgrad.make_step(loss_fn, optimizer)
    state = fgrad.init_state(params, optimizer)
    program = jax.jit(lambda state, x: fgrad.fit(step, state, x, epochs=2), donate_argnums=0)
    text = program.lower(state, jnp.ones((5, 8, 48))).compile().as_text()
    assert "f32[3,96]" in text
    assert not re.search(r"f32\[(96,48|3,96)\]\S* copy\(", text)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=str)
def test_weights_train_on_many_devices(kind: AxisType) -> None:
    """On two that share a weight: explicitly, and in `jax.shard_map`."""
    weight = np.linspace(-1, 1, 5120, dtype=np.float32).reshape(1024, 5)
    params = {"weight": weight, "bias": np.linspace(-1, 1, 1024, dtype=np.float32)}
    x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(8, 5)
    optimizer = optax.sgd(0.1, momentum=0.9)

    def loss_fn(params: Params, x: Array) -> Array:
        return jnp.square(F.linear(x, **params)).mean()

    def mapped_loss_fn(params: Params, x: Array) -> Array:
        return lax.pmean(loss_fn(params, x), "rows")

    step = fgrad.make_step(loss_fn, optimizer)
    expected, _ = step(fgrad.init_state(params, optimizer), x)
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(kind,))
    if kind is AxisType.Explicit:
        with jax.set_mesh(mesh):
            split = fgrad.init_state(jax.device_put(params, PartitionSpec("rows")), optimizer)
            state, _ = jax.jit(step)(split, x)
            assert state.params["weight"].sharding.spec[0] == "rows"
    else:
        whole = fgrad.init_state(params, optimizer)
        layout = jax.tree.map(
            lambda leaf: PartitionSpec("rows") if leaf.ndim else PartitionSpec(), whole
        )
        mapped_step = fgrad.make_step(mapped_loss_fn, optimizer)
        mapped = jax.shard_map(
            lambda state, x: mapped_step(state, x)[0],
            mesh=mesh,
            in_specs=(layout, PartitionSpec()),
            out_specs=layout,
        )
        state = jax.jit(mapped)(whole, x)
    jax.tree.map(
        lambda *both: np.testing.assert_allclose(*both, rtol=1e-5),
        jax.device_get(state),
        jax.device_get(expected),
    )


@pytest.mark.parametrize("epochs", [1, 10, 1000])
def test_traced_once_whatever_the_number_of_epochs(epochs: int) -> None:
    traces = 0

    def loss_fn(w: Array, batch: Batch) -> Array:
        nonlocal traces
        traces += 1
        return squared_error(w, batch)

    optimizer = optax.sgd(0.01)
    step = fgrad.make_step(loss_fn, optimizer)
    for start in (1.0, 2.0, 3.0):
        fgrad.fit(step, fgrad.init_state(np.float32(start), optimizer), (X, Y), epochs=epochs)
    assert traces == 1


def test_goes_on_where_it_stopped() -> None:
    optimizer = optax.sgd(0.01, momentum=0.9)
    step = fgrad.make_step(squared_error, optimizer)
    start = fgrad.init_state(np.float32(1.0), optimizer)
    whole, losses = fgrad.fit(step, start, (X, Y), epochs=7)
    half, first = fgrad.fit(step, start, (X, Y), epochs=3)
    resumed, second = fgrad.fit(step, half, (X, Y), epochs=4)
    assert jax.tree.map(float, resumed) == jax.tree.map(float, whole)
    np.testing.assert_array_equal(np.vstack([first["loss"], second["loss"]]), losses["loss"])


def test_no_epochs_change_nothing() -> None:
    state, history = run(optax.sgd(0.01), epochs=0)
    assert state.params == 1.0
    assert state.step == 0
    assert history["loss"].shape == (0, 3)


def final_error(rate: Array, start: Array) -> Array:
    optimizer = optax.sgd(rate)
    step = fgrad.make_step(squared_error, optimizer, metrics=())
    state, _ = fgrad.fit(step, fgrad.init_state(start, optimizer), (X, Y), epochs=5)
    return state.params - 2.0


def closed_form(rate: Any, start: Any) -> Any:
    """Each sample shrinks the error by 1 - 2 lr x^2."""
    shrink = np.prod([1 - 2 * rate * float(x) ** 2 for x in X], axis=0)
    return (start - 2.0) * shrink**5


def test_vmap_over_learning_rates() -> None:
    rates = np.linspace(0.001, 0.25, 500, dtype=np.float32)
    errors = jax.vmap(final_error, (0, None))(rates, jnp.float32(1.0))
    expected = closed_form(rates.astype(float), 1.0)
    np.testing.assert_allclose(errors, expected, rtol=1e-3, atol=1e-5)
    assert (np.abs(errors) > 1).any(), "the sweep should cross the divergence edge"


def test_vmap_over_starting_points() -> None:
    starts = np.linspace(-5, 5, 500, dtype=np.float32)
    errors = jax.vmap(final_error, (None, 0))(jnp.float32(0.01), starts)
    np.testing.assert_allclose(errors, closed_form(0.01, starts), rtol=1e-4, atol=1e-5)


def test_strict_under_vmap() -> None:
    optimizer = optax.sgd(0.01)
    step = fgrad.make_step(squared_error, optimizer)

    def losses(start: Array) -> Array:
        state = fgrad.init_state(start, optimizer)
        return fgrad.fit(step, state, (X, Y), epochs=5, strict=True)[1]["loss"]

    starts = np.float32([1.0, -0.3])
    one_by_one = [losses(jnp.asarray(start)) for start in starts]
    np.testing.assert_array_equal(jax.vmap(losses)(starts), np.stack(one_by_one))


def test_grad_through_a_whole_run() -> None:
    for argument, value in ((0, 0.01), (1, 1.5)):
        point = [np.float32(0.01), np.float32(1.5)]
        slope = jax.grad(final_error, argument)(*point)
        ends = []
        for sign in (1, -1):
            moved = [0.01, 1.5]
            moved[argument] = value + sign * 1e-6
            ends.append(closed_form(*moved))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-3)


def test_divergence_is_raised_with_its_place() -> None:
    w, place = np.float32(1.0), None
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(300):
            error = w * X[index % 3] - Y[index % 3]
            if not np.isfinite(error * error):
                place = divmod(index, 3)
                break
            w = w - np.float32(10.0) * (2 * error * X[index % 3])
    with pytest.raises(
        fgrad.DivergenceError, match=r"^loss: expected finite values, got"
    ) as raised:
        run(optax.sgd(10.0), epochs=100)
    error_ = raised.value
    assert (error_.epoch, error_.step) == place
    assert f"epoch {error_.epoch}, step {error_.step}" in str(error_)
    assert np.isfinite(error_.history["loss"][: error_.epoch]).all()
    assert isinstance(error_, ValueError)


def test_divergence_without_losses() -> None:
    with pytest.raises(fgrad.DivergenceError, match=r"^params: expected finite") as raised:
        run(optax.sgd(10.0), epochs=100, metrics=())
    assert raised.value.epoch is None


def test_divergence_in_the_last_update() -> None:
    optimizer = optax.sgd(3e38)
    step = fgrad.make_step(squared_error, optimizer)
    state = fgrad.init_state(np.float32(1.0), optimizer)
    with pytest.raises(fgrad.DivergenceError, match=r"^params: expected finite") as raised:
        fgrad.fit(step, state, (X[2:], Y[2:]), epochs=1)
    assert np.isfinite(raised.value.history["loss"]).all()


def test_divergence_is_returned_where_values_are_traced() -> None:
    optimizer = optax.sgd(10.0)
    step = fgrad.make_step(squared_error, optimizer)
    state = fgrad.init_state(np.float32(1.0), optimizer)
    _, history = jax.jit(lambda state: fgrad.fit(step, state, (X, Y), epochs=100))(state)
    assert not np.isfinite(history["loss"]).all()

    def last_loss(start: jax.Array) -> jax.Array:
        _, history = fgrad.fit(step, fgrad.init_state(start, optimizer), (X, Y), epochs=100)
        loss: jax.Array = history["loss"][-1, -1]
        return loss

    start = jnp.float32(1.0)
    _, linearized = jax.linearize(last_loss, start)
    _, tangent = jax.jvp(last_loss, (start,), (start,))
    assert not np.isfinite([jax.grad(last_loss)(start), tangent, linearized(start)]).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_data_is_told_from_divergence(bad: float) -> None:
    optimizer = optax.sgd(0.01)
    step = fgrad.make_step(squared_error, optimizer)
    x = X.copy()
    x[1] = bad
    message = rf"^batches\[0\]: expected finite values, got {bad} at index \(1,\)$"
    with pytest.raises(ValueError, match=message) as raised:
        fgrad.fit(step, fgrad.init_state(np.float32(1.0), optimizer), (x, Y), epochs=2)
    assert not isinstance(raised.value, fgrad.DivergenceError)


def fit_with(**changes: Any) -> object:
    optimizer = optax.sgd(0.01)
    arguments = {
        "step": fgrad.make_step(squared_error, optimizer),
        "state": fgrad.init_state(np.float32(1.0), optimizer),
        "batches": (X, Y),
        "epochs": 1,
    } | changes
    return fgrad.fit(**arguments)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "negative epochs": (
        lambda: fit_with(epochs=-1),
        r"^epochs: expected 0 to 2\*\*31 - 1, got -1$",
    ),
    "too many epochs": (
        lambda: fit_with(epochs=10**20),
        r"^epochs: expected 0 to 2\*\*31 - 1, got 1000000",
    ),
    "half an epoch": (
        lambda: fit_with(epochs=1.5),
        r"^epochs: expected an integer, got 1\.5$",
    ),
    "the state for the step": (
        lambda: fgrad.fit(fgrad.init_state(X, optax.sgd(0.1)), None, (X, Y), epochs=1),
        r"^step: expected a function, such as make_step returns, got TrainState$",
    ),
    "parameters for the state": (
        lambda: fgrad.fit(lambda state, batch: (state, {}), {"w": X}, (X, Y), epochs=1),
        r"^state: expected a TrainState, such as init_state returns, got dict$",
    ),
    "a generator": (
        lambda: fit_with(batches=((x, y) for x, y in zip(X, Y, strict=True))),
        r"^batches: expected arrays, all batches of an epoch stacked .*, got generator$",
    ),
    "words": (
        lambda: fit_with(batches=(X, "targets")),
        r"^batches\[1\]: expected arrays, .*, got str$",
    ),
    "a rate for the optimizer": (
        lambda: fgrad.make_step(squared_error, 0.01),
        r"^optimizer: expected an optax transformation, such as .*, got 0\.01$",
    ),
    "step without a dict": (
        lambda: fit_with(step=lambda state, batch: (state, ())),
        r"^step: expected it to return a state and a dict of metrics, .* got \(\)",
    ),
    "step with a vector loss": (
        lambda: fit_with(step=lambda state, batch: (state, {"loss": jnp.ones(2)})),
        r"^step: .* a 'loss' among them a scalar, got \{'loss': \(1, 3, 2\)\}",
    ),
    "no batches": (
        lambda: fit_with(batches=(X[:0], Y[:0])),
        r"^batches\[0\]: expected a leading axis of batches and no empty axis, got shape \(0,\)",
    ),
    "no leading axis": (
        lambda: fit_with(batches=(np.float32(1), Y)),
        r"^batches\[0\]: expected a leading axis .* got shape \(\)",
    ),
    "empty batches": (
        lambda: fit_with(batches=()),
        r"^batches: expected a pytree with at least one array, got an empty one",
    ),
    "uneven batches": (
        lambda: fit_with(batches=(X, Y[:2])),
        r"^batches: expected as many in every array, got leading axes \{'\[0\]': 3, '\[1\]': 2\}",
    ),
    "no params": (
        lambda: fgrad.init_state({}, optax.sgd(0.01)),
        r"^params: expected a pytree with at least one array, got an empty one$",
    ),
    "integer params": (
        lambda: fgrad.init_state({"w": np.int32(1)}, optax.sgd(0.01)),
        r"^params\['w'\]: expected floating point, got int32$",
    ),
    "unknown metric": (
        lambda: fgrad.make_step(squared_error, optax.sgd(0.01), metrics=("los",)),
        r"^metrics: expected names among loss, grads, params, got \{'los'\}$",
    ),
    "vector loss": (
        lambda: fit_with(batches=(X[None], Y[None])),
        r"^loss_fn: expected a floating-point scalar, got float32 of shape \(3,\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_descent_reaches_the_least_squares_optimum() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 20).astype(np.float32)
    y = (0.5 * x**2 - 1.5 * x + 0.25 + rng.normal(0, 0.1, 20)).astype(np.float32)

    def cost(params: Params, batch: Batch) -> Array:
        x, y = batch
        return jnp.square(quadratic.apply(params, x) - y).mean()

    optimizer = optax.sgd(0.3)
    step = fgrad.make_step(cost, optimizer)
    start = dict.fromkeys(("w1", "w2", "b"), np.float32(1.0))
    state, _ = fgrad.fit(step, fgrad.init_state(start, optimizer), (x[None], y[None]), epochs=2000)
    # The normal equations, in NumPy.
    design = np.stack([x**2, x, np.ones_like(x)], axis=1).astype(float)
    best = np.linalg.solve(design.T @ design, design.T @ y)
    reached = [state.params[name] for name in ("w1", "w2", "b")]
    np.testing.assert_allclose(reached, best, rtol=1e-4)


def test_linear_model_in_fit() -> None:
    x = X[:, None]

    def loss_fn(params: Params, batch: Batch) -> Array:
        x, y = batch
        return jnp.square(linear.apply(params, x) - y).sum()

    optimizer = optax.sgd(0.01)
    step = fgrad.make_step(loss_fn, optimizer)
    start = linear.init(jax.random.key(0))
    state, _ = fgrad.fit(
        step, fgrad.init_state(start, optimizer), (x[None], 2 * x[None]), epochs=3000
    )
    np.testing.assert_allclose(linear.apply(state.params, np.float32([[4.0]])), [[8.0]], rtol=1e-4)
