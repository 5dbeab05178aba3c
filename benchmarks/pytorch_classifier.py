"""The note's Net trained in PyTorch, as its lessons do it: the other side of the comparisons."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """The LeNet of the lesson on automatic differentiation."""

    def __init__(self) -> None:
        """Make its layers, in the lesson's order."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of ten classes."""
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 16 * 5 * 5)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def train(
    images: Tensor, labels: Tensor, *, seed: int, batch_size: int, lr: float, momentum: float
) -> Iterator[tuple[Net, float]]:
    """Train without end, in the images' precision; yield the network and its loss at every step."""
    torch.manual_seed(seed)
    net = Net().to(images.dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    # Of the numbers of the images, and not of the images: putting these together one by one takes
    # longer than training on them.
    numbers = TensorDataset(torch.arange(len(labels)))
    loader: DataLoader[tuple[Tensor, ...]] = DataLoader(numbers, batch_size, shuffle=True)
    while True:
        for (indices,) in loader:
            loss = F.cross_entropy(net(images[indices]), labels[indices])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            yield net, loss.item()


def accuracy(net: Net, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that are classified right."""
    with torch.no_grad():
        predictions = torch.cat([net(part).argmax(1) for part in torch.split(images, 1000)])
    return (predictions == labels).float().mean().item()
