"""fgrad's side of the recorded CNN runs: everything from the seed, in one compiled program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fgrad
from fgrad import functional as F
from fgrad.models import convnet, lenet
from fgrad.random import Generator
from fgrad.types import Array, Batch, Params

STEPS = 100
NETS = {"lenet": lenet, "convnet": convnet}
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}  # relative, of every loss


def loss_function(net: str) -> fgrad.types.LossFn:
    """Return L1 for the convnet, cross entropy for LeNet."""
    criterion = F.l1_loss if net == "convnet" else F.cross_entropy

    def loss_fn(params: Params, batch: Batch) -> Array:
        x, target = batch
        return criterion(NETS[net].apply(params, x), target)

    return loss_fn


def replay(net: str, seed: int, options: dict[str, Any], dtype: str) -> tuple[Any, Params]:
    """Return the losses of 100 steps on four batches of two, and the final parameters."""
    rng = Generator(seed)
    params = NETS[net].init(rng, dtype=np.dtype(dtype))
    x = rng.randn((4, 2, 1, 32, 32), dtype=np.dtype(dtype))
    target: Any = rng.randint(0, 10, (4, 2)) if net == "lenet" else None
    if net == "convnet":
        target = rng.randn((4, 2, 2), dtype=np.dtype(dtype))
    optimizer = fgrad.optim.sgd(**options)
    step = fgrad.make_step(loss_function(net), optimizer)
    batches = (jnp.asarray(x), jnp.asarray(target))
    state = fgrad.init_state(params, optimizer)
    state, history = fgrad.fit(step, state, batches, epochs=STEPS // 4)
    return np.ravel(history["loss"]), state.params


def check(run: dict[str, Any]) -> None:
    """Assert that the seed alone gives a recorded run."""
    dtype = run["dtype"]
    with jax.enable_x64(dtype == "float64"):
        losses, params = replay(run["net"], run["seed"], run["options"], dtype)
    assert losses.dtype == dtype
    assert len(losses) == len(run["loss"]) == STEPS
    np.testing.assert_allclose(losses, run["loss"], rtol=TOLERANCES[dtype], atol=0)
    for name, norm in run["norms"].items():
        layer, entry = name.split(".")
        found = np.linalg.norm(np.ravel(params[layer][entry]).astype(np.float64))
        np.testing.assert_allclose(found, norm, rtol=TOLERANCES[dtype], err_msg=name)
