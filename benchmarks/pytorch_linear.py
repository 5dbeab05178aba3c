"""The PyTorch program that scripts/train_linear.py is held against: y = w x, sample by sample."""

import torch

X, Y = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]


def train(epochs: int, rate: float = 0.01, *, report: bool = False) -> torch.Tensor:
    """Train from w = 1, printing every gradient and loss if asked to."""
    w = torch.tensor([1.0], requires_grad=True)
    for epoch in range(epochs):
        for x, y in zip(X, Y, strict=True):
            error = x * w - y
            loss = error * error
            torch.autograd.backward(loss)
            assert w.grad is not None
            if report:
                print("\tgrad:", x, y, w.grad.item())
            w.data = w.data - rate * w.grad.data
            w.grad.data.zero_()
        if report:
            print("progress:", epoch, loss.item())
    return w.detach()


def train_many(rates: torch.Tensor, epochs: int) -> torch.Tensor:
    """Train one w a learning rate, all in one tensor: the sweep as an expert writes it."""
    w = torch.ones_like(rates, requires_grad=True)
    for _ in range(epochs):
        for x, y in zip(X, Y, strict=True):
            error = x * w - y
            torch.autograd.backward((error * error).sum())
            assert w.grad is not None
            w.data = w.data - rates * w.grad.data
            w.grad.data.zero_()
    return w.detach()


if __name__ == "__main__":
    print("predict (before training)", 4, 4.0)
    print("predict (after training)", 4, (4 * train(100, report=True)).item())
