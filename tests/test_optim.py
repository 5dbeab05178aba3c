"""torch.optim.SGD, against recorded runs and closed forms."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgrad import TrainState, init_state, make_step
from fgrad.optim import sgd
from fgrad.types import Array

with np.load(Path(__file__).parent / "references" / "optim.npz", allow_pickle=False) as _file:
    REFERENCES = dict(_file)
RUNS = json.loads(str(REFERENCES["runs"]))


def trace(optimizer: optax.GradientTransformation, start: Array, grads: Array) -> Array:
    """Return the parameters after each step."""
    step = make_step(lambda params, grad: (params * grad).sum(), optimizer, metrics=("params",))

    def step_and_look(state: TrainState, grad: Array) -> tuple[TrainState, Array]:
        state, _ = step(state, grad)
        return state, state.params

    return jax.lax.scan(step_and_look, init_state(start, optimizer), grads)[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("i", range(len(RUNS)), ids=[str(list(run.values())[1:]) for run in RUNS])
def test_every_combination_equals_pytorch(i: int, dtype: str) -> None:
    """All arguments against each other, 12 steps, in both precisions."""
    with jax.enable_x64(dtype == "float64"):
        start = jnp.asarray(REFERENCES["start"], dtype)
        got = trace(sgd(**RUNS[i]), start, jnp.asarray(REFERENCES["grads"], dtype))
        assert got.dtype == dtype
    rtol, atol = (1e-12, 0.0) if dtype == "float64" else (1.3e-6, 1e-5)
    np.testing.assert_allclose(got, REFERENCES[f"{i}.{dtype}"], rtol=rtol, atol=atol)


def test_the_first_step_is_not_dampened() -> None:
    """The buffer by hand."""
    grads = jnp.ones((3, 1))
    got = trace(sgd(1.0, momentum=0.5, dampening=0.75), jnp.zeros(1), grads)
    # b = 1, then 0.5 + 0.25, then 0.375 + 0.25.
    np.testing.assert_array_equal(got[:, 0], [-1.0, -1.75, -2.375])


def test_lr_may_be_a_schedule_of_the_steps_made() -> None:
    """The schedule counts from 0."""
    got = trace(
        sgd(lambda count: jnp.exp2(-jnp.asarray(count, jnp.float32))),
        jnp.zeros(1),
        jnp.ones((4, 1)),
    )
    np.testing.assert_array_equal(got[:, 0], [-1.0, -1.5, -1.75, -1.875])


def test_lr_may_be_mapped_over() -> None:
    """A traced rate gives what each number alone gives."""
    rates = jnp.array([0.1, 0.2, 0.4])
    grads = jnp.ones((5, 2))
    many = jax.vmap(lambda lr: trace(sgd(lr, momentum=0.9), jnp.ones(2), grads))(rates)
    for lr, one in zip(rates.tolist(), many, strict=True):
        np.testing.assert_allclose(one, trace(sgd(lr, momentum=0.9), jnp.ones(2), grads), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("lr", [0.5, np.float32(0.5), jnp.float32(0.5), lambda count: 0.5])
def test_updates_keep_the_parameters_dtype(lr: optax.ScalarOrSchedule, dtype: type) -> None:
    """No rate, of whatever type, promotes the parameters."""
    params = jnp.ones(2, dtype)
    optimizer = sgd(lr, momentum=0.5, dampening=0.5, weight_decay=0.5)
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
        assert jnp.result_type(updates) == dtype


def test_it_trains_through_make_step() -> None:
    """A quadratic reaches its minimum."""
    optimizer = sgd(lr=0.1, momentum=0.9, nesterov=True)
    step = jax.jit(make_step(lambda w, x: ((w - x) ** 2).sum(), optimizer))
    state = init_state(jnp.zeros(2), optimizer)
    for _ in range(200):
        state, _ = step(state, jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(state.params, [1.0, -2.0], rtol=1e-5)


def test_groups_by_partition() -> None:
    """Groups have options of their own."""
    params = {"weight": jnp.ones(()), "bias": jnp.ones(())}
    optimizer = optax.partition(
        {"decayed": sgd(0.5, weight_decay=1.0), "plain": sgd(0.25)},
        {"weight": "decayed", "bias": "plain"},
    )
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert jax.tree.map(float, updates) == {"weight": -1.0, "bias": -0.25}


def test_without_weight_decay_it_needs_no_parameters() -> None:
    """Then `update` may be called on gradients alone."""
    optimizer = sgd(0.5)
    updates, _ = optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())))
    assert updates == -0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -0.1}, "lr: expected 0 or more, got -0.1"),
        ({"lr": float("nan")}, "lr: expected a finite number, got nan"),
        ({"lr": float("inf")}, "lr: expected a finite number, got inf"),
        ({"lr": None}, "lr: expected a finite number, got None"),
        ({"lr": "0.1"}, "lr: expected a finite number, got 0.1"),
        ({"momentum": float("inf")}, "momentum: expected a finite number, got inf"),
        ({"dampening": float("nan")}, "dampening: expected a finite number, got nan"),
        ({"lr": jnp.array([0.1, 0.2])}, r"lr: expected a scalar, got shape \(2,\)"),
        ({"momentum": -0.1}, "momentum: expected 0 or more, got -0.1"),
        ({"weight_decay": -0.1}, "weight_decay: expected 0 or more, got -0.1"),
        ({"nesterov": True}, "nesterov: expected a momentum above 0 and a dampening of 0"),
        (
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            "nesterov: expected .* got momentum=0.9, dampening=0.1",
        ),
    ],
    ids=str,
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    """Each refusal names its argument."""
    with pytest.raises(ValueError, match=message):
        sgd(**arguments)


@pytest.mark.parametrize("name", ["momentum", "dampening", "weight_decay"])
def test_only_lr_may_be_traced(name: str) -> None:
    """The rest decides what the optimizer is made of; it is refused by name."""
    with pytest.raises(ValueError, match=f"^{name}: expected a finite number, got .*Trace"):
        jax.jit(lambda value: sgd(**{name: value}).init(jnp.ones(2)))(0.9)
    with pytest.raises(ValueError, match=r"^lr: expected a scalar, got shape \(2,\)"):
        jax.jit(lambda lr: sgd(lr).init(jnp.ones(2)))(jnp.ones(2))
