"""The notes' regression programs, run by PyTorch and by fgrad's scripts over other data."""

from collections.abc import Iterator

import numpy as np
import pytest
from programs import lines

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep PyTorch's sums in one piece."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cases() -> Iterator[tuple[list[float], list[float], int, float]]:
    """Yield data, epochs and learning rates: some short, some long, some that hardly converge."""
    rng = np.random.default_rng(0)
    for count, epochs, rate in [(1, 50, 0.1), (2, 200, 0.02), (3, 30, 0.07), (7, 100, 0.005)]:
        yield rng.normal(size=count).tolist(), rng.normal(size=count).tolist(), epochs, rate
    yield [0.1, 0.2, 0.3], [1e-3, 2e3, -0.3], 500, 1e-4
    yield [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1000, 0.01


CASES = list(cases())
IDS = [f"n={len(x)}, {epochs} epochs, lr={rate}" for x, _, epochs, rate in CASES]


def options(x: list[float], y: list[float], epochs: int, rate: float) -> list[object]:
    return ["--x", *x, "--y", *y, "--epochs", epochs, "--lr", rate]


@pytest.mark.parametrize(("x", "y", "epochs", "rate"), CASES, ids=IDS)
def test_linear(x: list[float], y: list[float], epochs: int, rate: float) -> None:
    w = torch.tensor([1.0], requires_grad=True)
    printed = [f"predict (before training) 4 {(4 * w).item()}"]
    for epoch in range(epochs):
        for xi, yi in zip(x, y, strict=True):
            error = xi * w - yi
            loss = error * error
            (grad,) = torch.autograd.grad(loss, w)
            printed.append(f"\tgrad: {xi} {yi} {grad.item()}")
            w = (w.detach() - rate * grad).requires_grad_()
        printed.append(f"progress: {epoch} {loss.item()}")
    printed.append(f"predict (after training) 4 {(4 * w).item()}")
    assert lines("train_linear.py", *options(x, y, epochs, rate)) == printed


@pytest.mark.parametrize(("x", "y", "epochs", "rate"), CASES, ids=IDS)
def test_quadratic(x: list[float], y: list[float], epochs: int, rate: float) -> None:
    params = [torch.tensor([1.0], requires_grad=True) for _ in range(3)]

    def predict(x: float) -> torch.Tensor:
        w1, w2, b = params
        return w1 * x**2 + w2 * x + b

    printed = [f"Predict (before training) 4 {predict(4).item()}"]
    for epoch in range(epochs):
        for xi, yi in zip(x, y, strict=True):
            loss = (predict(xi) - yi) ** 2
            grads = torch.autograd.grad(loss, params)
            printed.append(" ".join(["\tgrad:", *map(str, [xi, yi, *(g.item() for g in grads)])]))
            params = [
                (p.detach() - rate * g).requires_grad_() for p, g in zip(params, grads, strict=True)
            ]
        printed.append(f"Epoch: {epoch} {loss.item()}")
    printed.append(f"Predict (after training) 4 {predict(4).item()}")
    assert lines("train_quadratic.py", *options(x, y, epochs, rate)) == printed


@pytest.mark.parametrize("seed", [0, 1, 2, 12345, -1, 2**63, 2**64 - 1])
@pytest.mark.parametrize(("x", "y", "epochs", "rate"), CASES[-4:], ids=IDS[-4:])
def test_module(x: list[float], y: list[float], epochs: int, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = torch.nn.Linear(1, 1)
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    inputs, targets = torch.tensor(x)[:, None], torch.tensor(y)[:, None]
    printed = []
    for epoch in range(epochs):
        loss = criterion(model(inputs), targets)
        printed.append(f"{epoch} {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    printed.append(f"w =  {model.weight.item()}")
    printed.append(f"b =  {model.bias.item()}")
    printed.append(f"y_pred =  {model(torch.tensor([[4.0]])).item()}")
    method = ["--method", "module", "--seed", seed]
    assert lines("train_linear.py", *method, *options(x, y, epochs, rate)) == printed


@pytest.mark.parametrize("samples", [17, 100, 255])
def test_module_with_many_samples(samples: int) -> None:
    rng = np.random.default_rng(samples)
    x, y = rng.normal(size=(2, samples)).tolist()
    test_module(x, y, epochs=40, rate=0.001, seed=samples)
