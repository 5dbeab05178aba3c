"""The notes' networks beside an installed PyTorch's: weights, outputs, gradients, training."""

import runpy
from pathlib import Path
from typing import Any

import cnn_runs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import SCRIPTS

import fgrad
from fgrad import functional as F
from fgrad import parity
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


@pytest.mark.parametrize(
    ("net", "options", "steps"),
    [
        ("lenet", {"lr": 0.05}, 2),
        ("lenet", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, 3),
        ("lenet", {"lr": 0.02, "momentum": 0.8, "dampening": 0.3}, 3),
        ("convnet", {"lr": 0.001, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, 1),
    ],
    ids=str,
)
def test_outputs_losses_gradients_and_updates(
    net: str, options: dict[str, Any], steps: int, tmp_path: Path
) -> None:
    """Each step from PyTorch's own weights, in both precisions, held to PyTorch's own rounding."""
    torch.manual_seed(5)
    model = RECORDER["new_net"](net)
    scores, criterion, ours = (
        (10, torch.nn.CrossEntropyLoss(), F.cross_entropy)
        if net == "lenet"
        else (2, torch.nn.L1Loss(), F.l1_loss)
    )
    targets = torch.randint(0, 10, (2, 3)) if net == "lenet" else torch.randn(2, 3, scores)
    batches = list(zip(torch.randn(2, 3, 1, 32, 32), targets, strict=True))
    optimizer = torch.optim.SGD(model.parameters(), **options)
    path = tmp_path / "run.safetensors"
    parity.record(model, criterion, optimizer, batches, path=path, steps=steps)
    apply = cnn_runs.NETS[net].apply
    report = parity.assert_parity(path, apply, ours, fgrad.optim.sgd(**options))
    names = {name for name, _ in model.named_parameters()}
    for stage in ("gradient", "update"):
        assert {c.place for c in report.comparisons if c.stage == stage} == names


@pytest.mark.parametrize("net", NETS)
def test_gradient_of_the_image(net: str) -> None:
    torch.manual_seed(5)
    model = RECORDER["new_net"](net).double()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 1, 32, 32))
    image = torch.tensor(x, requires_grad=True)
    output = model(image)
    cotangent = rng.normal(size=tuple(output.shape))
    output.backward(torch.tensor(cotangent))
    with jax.enable_x64(True):
        params = cnn_runs.NETS[net].init(Generator(5))
        params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
        _, pull = jax.vjp(lambda x: cnn_runs.NETS[net].apply(params, x), jnp.asarray(x))
        (of_image,) = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(of_image, image.grad.numpy(), rtol=1e-12, atol=1e-12)


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
