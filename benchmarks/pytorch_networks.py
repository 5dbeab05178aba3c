"""PyTorch's side of the networks' benchmark: every way to run an epoch that is worth trying.

Imports no JAX.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from networks import LEARNING_RATE, MOMENTUM, Epoch, Network
from torch import nn
from torch.nn import functional as T


def module(network: Network) -> nn.Sequential:
    """Return a network as a module, new weights drawn."""
    layers = nn.Sequential()
    shapes = network.shapes()
    for number, layer in enumerate(network.convolutions, 1):
        out, channels, *_ = shapes[f"conv{number}"]
        convolution = nn.Conv2d(channels, out, layer.kernel, padding=layer.padding)
        layers.add_module(f"conv{number}", convolution)
        layers.add_module(f"relu{number}", nn.ReLU())
        if layer.pool > 1:
            layers.add_module(f"pool{number}", nn.MaxPool2d(layer.pool))
    layers.add_module("flatten", nn.Flatten())
    for number in range(1, len(network.features) + 1):
        if number > 1:
            layers.add_module(f"fc_relu{number}", nn.ReLU())
        out, features = shapes[f"fc{number}"]
        layers.add_module(f"fc{number}", nn.Linear(features, out))
    return layers


class Variant:
    """One way to run a module in PyTorch.

    Args:
        name: `plain`, `channels_last`, `oneDNN off`, `torch.compile` or `CUDA graphs`.
        device: Where.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Keep the settings that the name stands for."""
        self.name = name
        self.device = device
        last = name == "channels_last"
        self._format = torch.channels_last if last else torch.contiguous_format

    def images(self, images: np.ndarray) -> torch.Tensor:
        """Return images on the device, laid out as the variant likes them."""
        tensor = torch.from_numpy(images).to(self.device)
        return tensor.contiguous(memory_format=self._format)

    def module(self, module: nn.Module) -> nn.Module:
        """Return a module on the device, laid out as the variant likes it."""
        return module.to(self.device).to(memory_format=self._format)

    def ready(self, module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what computes the module's outputs."""
        return torch.compile(module) if self.name == "torch.compile" else module

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """Switch PyTorch's backends as the variant needs them, for the while."""
        # Not by mkldnn.flags: it sets oneDNN's TF32 too, which is for Intel's GPUs and warns.
        before = torch.backends.mkldnn.enabled
        torch.backends.mkldnn.enabled = before and self.name != "oneDNN off"
        try:
            yield
        finally:
            torch.backends.mkldnn.enabled = before


def device() -> torch.device:
    """Return where PyTorch runs: on the GPU if it finds one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def names(device: torch.device) -> list[str]:
    """Return the variants to try on a device."""
    if device.type == "cuda":
        return ["plain", "channels_last", "torch.compile", "CUDA graphs"]
    return ["plain", "channels_last", "oneDNN off", "torch.compile"]


def training(variant: Variant, module: nn.Module, images: np.ndarray, labels: np.ndarray) -> Epoch:
    """Return an epoch of momentum SGD on the cross entropy.

    Args:
        variant: How to run.
        module: What to train; it is changed.
        images: Of shape (batches, N, C, H, W).
        labels: Of shape (batches, N).
    """
    module = variant.module(module)
    xs = [variant.images(batch) for batch in images]
    ys = [torch.from_numpy(batch).long().to(variant.device) for batch in labels]
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    forward = variant.ready(module)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = T.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = _captured(step, xs[0], ys[0]) if variant.name == "CUDA graphs" else step

    def epoch() -> float:
        with variant.settings():
            for x, y in zip(xs, ys, strict=True):
                loss = run(x, y)
        return loss.item()

    return epoch


def inference(variant: Variant, module: nn.Module, images: np.ndarray, calls: int) -> Epoch:
    """Return `calls` calls of the module on one batch, one after the other."""
    forward = variant.ready(variant.module(module).eval())
    x = variant.images(images)

    def epoch() -> float:
        with variant.settings(), torch.inference_mode():
            for _ in range(calls):
                scores = forward(x)
        return scores[0, 0].item()

    return epoch


def _captured(
    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a step that is replayed as one CUDA graph."""
    x, y = x.clone(), y.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # warm up, as capturing requires
        for _ in range(3):
            step(x, y)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(x, y)

    def replay(new_x: torch.Tensor, new_y: torch.Tensor) -> torch.Tensor:
        x.copy_(new_x)
        y.copy_(new_y)
        graph.replay()
        return loss

    return replay
