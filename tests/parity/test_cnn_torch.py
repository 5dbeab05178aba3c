"""The notes' networks beside an installed PyTorch's: weights, outputs, gradients, training."""

import runpy
from typing import Any

import cnn_runs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import SCRIPTS

import fgrad
from fgrad.interop import to_state_dict
from fgrad.random import Generator

torch = pytest.importorskip("torch")
RECORDER = runpy.run_path(str(SCRIPTS / "recorders" / "cnn.py"))
NETS = list(cnn_runs.NETS)


@pytest.mark.parametrize("seed", [3, -1, 2**64 - 1])
@pytest.mark.parametrize("net", NETS)
def test_init_is_pytorchs_to_the_last_bit(net: str, seed: int) -> None:
    torch.manual_seed(seed)
    theirs = RECORDER["new_net"](net).state_dict()
    ours = to_state_dict(cnn_runs.NETS[net].init(Generator(seed)))
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value.numpy(), err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("net", NETS)
def test_forward_and_every_gradient(net: str, dtype: str) -> None:
    torch.manual_seed(5)
    model = RECORDER["new_net"](net).to(getattr(torch, dtype))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 1, 32, 32)).astype(dtype)
    image = torch.tensor(x, requires_grad=True)
    output = model(image)
    cotangent = rng.normal(size=tuple(output.shape)).astype(dtype)
    output.backward(torch.tensor(cotangent))
    rtol, atol = (1e-12, 1e-12) if dtype == "float64" else (1.3e-6, 1e-5)
    with jax.enable_x64(dtype == "float64"):
        params = cnn_runs.NETS[net].init(Generator(5))
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        ours, pull = jax.vjp(cnn_runs.NETS[net].apply, params, jnp.asarray(x))
        grads, of_image = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(ours, output.detach().numpy(), rtol=rtol, atol=atol)
    np.testing.assert_allclose(of_image, image.grad.numpy(), rtol=rtol, atol=atol)
    flat = to_state_dict(grads)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            flat[name], parameter.grad.numpy(), rtol=rtol, atol=atol, err_msg=name
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("net", "seed", "options"),
    [
        ("lenet", 11, {"lr": 0.003, "momentum": 0.9, "nesterov": True}),
        ("lenet", 12, {"lr": 0.004, "momentum": 0.8, "weight_decay": 1e-3}),
        ("convnet", 13, {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}),
    ],
    ids=str,
)
def test_100_steps(net: str, seed: int, options: dict[str, Any], dtype: str) -> None:
    cnn_runs.check(RECORDER["train"](net, seed, options, dtype))


def test_a_shuffled_data_loader_is_replayed() -> None:
    """Three epochs over 20 samples, shuffled in batches of 5."""
    torch.manual_seed(21)
    model = RECORDER["new_net"]("lenet")
    data = torch.utils.data.TensorDataset(torch.randn(20, 1, 32, 32), torch.randint(0, 10, (20,)))
    loader = torch.utils.data.DataLoader(data, batch_size=5, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
    losses = []
    for _ in range(3):
        for x, target in loader:
            loss = torch.nn.functional.cross_entropy(model(x), target)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    rng = Generator(21)
    params = cnn_runs.NETS["lenet"].init(rng)
    images, labels = rng.randn((20, 1, 32, 32)), rng.randint(0, 10, (20,))
    order = []
    for _ in range(3):
        order.append(fgrad.data.epoch_order(rng, 20).reshape(4, 5))
    batches = np.concatenate(order)
    ours = fgrad.optim.sgd(lr=0.005, momentum=0.9)
    step = fgrad.make_step(cnn_runs.loss_function("lenet"), ours)
    data_in_order = jnp.asarray(images[batches]), jnp.asarray(labels[batches])
    _, history = fgrad.fit(step, fgrad.init_state(params, ours), data_in_order, epochs=1)
    np.testing.assert_allclose(history["loss"][0], losses, rtol=1e-4)
