"""fgrad's SGD beside an installed PyTorch's, step by step."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgrad import init_state, make_step
from fgrad.optim import sgd

torch = pytest.importorskip("torch")

STEPS = 100
COMBINATIONS = [
    {
        "lr": lr,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    for lr, momentum, dampening, weight_decay, nesterov, maximize in itertools.product(
        (0.0, 0.05), (0, 0.5, 0.95), (0, 0.3, -0.5), (0, 0.02), (False, True), (False, True)
    )
    if not nesterov or (momentum and not dampening)
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arguments", COMBINATIONS, ids=lambda a: str(list(a.values())))
def test_every_step_from_pytorchs_own(arguments: dict[str, Any], dtype: str) -> None:
    """Gradients that depend on the parameters, so that a run stays comparable for 100 steps."""
    choose = np.random.RandomState(1)
    start, pulls = choose.randn(5).astype(dtype), choose.randn(STEPS, 5).astype(dtype)
    parameter = torch.tensor(start)
    theirs = torch.optim.SGD([parameter], **arguments)
    want = []
    for pull in pulls:
        parameter.grad = torch.sin(parameter) + torch.tensor(pull)
        theirs.step()
        want.append(parameter.numpy().copy())

    with jax.enable_x64(dtype == "float64"):
        optimizer = sgd(**arguments)
        # The gradient of this is sin(params) + pull.
        step = jax.jit(
            make_step(lambda params, pull: (params * pull - jnp.cos(params)).sum(), optimizer)
        )
        state = init_state(jnp.asarray(start), optimizer)
        rtol, atol = (1e-12, 1e-12) if dtype == "float64" else (1.3e-6, 1e-5)
        for pull, wanted in zip(pulls, want, strict=True):
            state, _ = step(state, jnp.asarray(pull))
            assert state.params.dtype == dtype
            np.testing.assert_allclose(state.params, wanted, rtol=rtol, atol=atol)
