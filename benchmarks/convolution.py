"""Time convolutional networks in fgrad and in PyTorch, in one run and in turns.

Every network trains with momentum SGD on a batch at a time: fgrad's epoch is one compiled program,
PyTorch's the best of its variants: on a CPU plain, channels_last, oneDNN off and torch.compile; on
a GPU plain, channels_last, torch.compile and CUDA graphs, at the precision that is asked for on
both sides. Loss and gradients are compared before anything is timed.
Prints Markdown tables; --output FILE writes them, with a JSON file and a figure beside it. Needs
PyTorch and, for torch.compile, a C++ compiler. Takes about ten minutes.
"""

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytorch_networks
import torch
from measure import duration, in_turns, machine, ratio, table
from networks import CIFAR_LENET, CONVNET, LENET, VGG, Network, parameters, random_batches
from pytorch_networks import LEARNING_RATE, MOMENTUM, Epoch, Variant
from torch import nn
from torch.nn import functional as T

import fgrad
from fgrad import cli, files

TRAINING = [
    (LENET, 4),
    (LENET, 64),
    (LENET, 256),
    (CONVNET, 1),
    (CONVNET, 64),
    (CIFAR_LENET, 64),
    (VGG, 64),
]
INFERENCE = [1, 256]
SIZES = [1, 4, 16, 64, 256, 1024]
WIDTHS = [0.5, 1.0, 2.0, 4.0, 8.0]
WORTH_TIMING = 1.3  # a variant slower than the best by more is left out after the first look


def compiled_epoch(
    network: Network, module: nn.Module, size: int, count: int
) -> tuple[Epoch, float]:
    """Return fgrad's epoch over random batches, and how many seconds it took to compile."""
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = fgrad.make_step(network.loss, optimizer)
    state = fgrad.init_state(parameters(module), optimizer)
    batches = jax.device_put(random_batches(network, size, count))

    start = time.perf_counter()
    compiled = jax.jit(functools.partial(fgrad.fit, step, epochs=1)).lower(state, batches).compile()
    seconds = time.perf_counter() - start

    def epoch() -> float:
        nonlocal state
        state, history = compiled(state, batches)
        return float(history["loss"][0, -1])

    return epoch, seconds


def check(network: Network, size: int) -> None:
    """Raise if the two sides' loss or gradients differ on a batch."""
    module = network.module()
    (images,), (labels,) = random_batches(network, size, 1)
    loss = T.cross_entropy(module(torch.from_numpy(images)), torch.from_numpy(labels).long())
    names, tensors = zip(*module.named_parameters(), strict=True)
    expected = dict(zip(names, torch.autograd.grad(loss, tensors), strict=True))
    ours, gradients = jax.jit(jax.value_and_grad(network.loss))(
        parameters(module), (images, labels)
    )
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
    for name, tensor in expected.items():
        layer, kind = name.split(".")
        scale = float(tensor.abs().max())
        np.testing.assert_allclose(
            gradients[layer][kind], tensor.numpy(), rtol=1e-4, atol=1e-4 * scale
        )


def best(epochs: dict[str, Epoch]) -> dict[str, Epoch]:
    """Return the epochs that are not far from the fastest one, after a run to warm up."""
    for epoch in epochs.values():
        epoch()
    times = dict(zip(epochs, in_turns(*epochs.values(), repetitions=2), strict=True))
    limit = WORTH_TIMING * min(min(seconds) for seconds in times.values())
    return {name: epoch for name, epoch in epochs.items() if min(times[name]) <= limit}


def compare(
    ours: Epoch, theirs: dict[str, Epoch], rounds: int
) -> tuple[str, list[float], list[float]]:
    """Return PyTorch's fastest variant, its times, and fgrad's, taken in turns."""
    candidates = best(theirs)
    own, *others = in_turns(ours, *candidates.values(), repetitions=rounds)
    medians = [float(np.median(seconds)) for seconds in others]
    fastest = int(np.argmin(medians))
    return list(candidates)[fastest], others[fastest], own


def batches_of(network: Network, size: int) -> int:
    """Return how many batches take about a fifth of a second."""
    per_second = 4e10 / (3 * flops(network))
    return max(2, min(400, round(0.2 * per_second / size)))


def flops(network: Network) -> int:
    """Return the floating-point operations of one image, forward."""
    shapes = parameters(network.module())
    image = np.zeros((1, network.channels, 32, 32), np.float32)
    return 2 * fgrad.summary(network.apply, shapes, image).multiply_adds


def product_rate() -> float:
    """Return the floating-point operations a second of a large matrix product."""
    matrix = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(jnp.matmul)
    (times,) = in_turns(lambda: product(matrix, matrix).block_until_ready(), repetitions=9)
    return 2 * 2048**3 / min(times)


def memory(side: str, network: Network, size: int) -> float:
    """Return the peak megabytes of a process that trains with one side alone."""
    command = [sys.executable, __file__, "--memory", side, network.name, str(size)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def train_alone(side: str, name: str, size: int) -> None:
    """Train for an epoch and print the process's peak megabytes."""
    network = next(network for network, _ in TRAINING if network.name == name)
    count = batches_of(network, size)
    if side == "fgrad":
        compiled_epoch(network, network.module(), size, count)[0]()
    else:
        data = random_batches(network, size, count)
        pytorch_networks.training(Variant("plain", device()), network.module(), *data)()
    # Of this process alone: the peak that getrusage tells comes down from the parent.
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))


def device() -> torch.device:
    """Return PyTorch's device of the kind that JAX uses."""
    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


def training_row(network: Network, size: int, rounds: int, rate: float) -> list[str]:
    """Return a table's row on training with one batch size."""
    count = batches_of(network, size)
    check(network, size)
    data = random_batches(network, size, count)
    ours, compile_time = compiled_epoch(network, network.module(), size, count)
    theirs = {
        name: pytorch_networks.training(Variant(name, device()), network.module(), *data)
        for name in pytorch_networks.names(device())
    }
    variant, other, own = compare(ours, theirs, rounds)
    median, low, high = ratio(other, own)
    images = count * size
    speed = images / float(np.median(own))
    return [
        f"{network.name}, batch {size}",
        f"{images / float(np.median(other)):,.0f}",
        variant,
        f"{speed:,.0f}",
        f"{median:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{3 * flops(network) * speed / rate:.0%}",
        duration(compile_time),
    ]


def inference_row(size: int, rounds: int, rate: float) -> list[str]:
    """Return a table's row on LeNet's forward pass, called from Python."""
    module = LENET.module()
    calls = 500 if size == 1 else 20
    ((images,), _) = random_batches(LENET, size, 1)
    params, x = parameters(module), jax.device_put(images)
    forward = jax.jit(LENET.apply)

    def ours() -> float:
        for _ in range(calls):
            scores = forward(params, x)
        return float(scores[0, 0])

    theirs = {
        name: pytorch_networks.inference(Variant(name, device()), LENET.module(), images, calls)
        for name in pytorch_networks.names(device())
        if name != "CUDA graphs"
    }
    variant, other, own = compare(ours, theirs, rounds)
    median, low, high = ratio(other, own)
    speed = calls * size / float(np.median(own))
    return [
        f"LeNet, batch {size}",
        f"{calls * size / float(np.median(other)):,.0f}",
        variant,
        f"{speed:,.0f}",
        f"{median:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{flops(LENET) * speed / rate:.0%}",
    ]


def speeds(network: Network, size: int) -> tuple[float, float]:
    """Return images a second of PyTorch, plain or channels_last, and of fgrad."""
    count = batches_of(network, size)
    data = random_batches(network, size, count)
    ours, _ = compiled_epoch(network, network.module(), size, count)
    theirs = {
        name: pytorch_networks.training(Variant(name, device()), network.module(), *data)
        for name in ("plain", "channels_last")
    }
    _, other, own = compare(ours, theirs, rounds=3)
    images = count * size
    return images / float(np.median(other)), images / float(np.median(own))


def growth(
    cases: Sequence[tuple[float, Network, int]], say: Callable[[str], None]
) -> list[list[float]]:
    """Return rows of what is varied, PyTorch's images a second and fgrad's."""
    rows = []
    for value, network, size in cases:
        say(f"growth: {network.name} {value:g}")
        rows.append([value, *speeds(network, size)])
    return rows


def draw(by_size: list[list[float]], by_width: list[list[float]], path: Path) -> None:
    """Draw how the speed grows with the batch and falls with the width."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for axis, rows, label in zip(
        axes,
        (by_size, by_width),
        ("images in a batch", "width (1: LeNet's own), batches of 64"),
        strict=True,
    ):
        values, theirs, ours = zip(*rows, strict=True)
        axis.loglog(values, ours, "o-", color="#0b6e99", label="fgrad")
        axis.loglog(values, theirs, "s--", color="#d9730d", label="PyTorch, the best of two")
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("LeNet, images trained a second")
    axes[0].legend()
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure, print and write."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=cli.output_file(".md"), metavar="FILE")
    parser.add_argument("--rounds", type=cli.at_least(3), default=15, help="timings of each (15)")
    parser.add_argument(
        "--precision", choices=("float32", "tf32"), default="float32", help="of a GPU's products"
    )
    parser.add_argument("--memory", nargs=3, metavar=("SIDE", "NETWORK", "BATCH"), help="one side")
    args = parser.parse()
    # The same on both sides: left to themselves, they differ on a GPU.
    precision = {"float32": "highest", "tf32": "tensorfloat32"}[args.precision]
    jax.config.update("jax_default_matmul_precision", precision)
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    if args.memory:
        side, name, size = args.memory
        train_alone(side, name, int(size))
        return 0

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    rate = product_rate()
    head = [
        "",
        "PyTorch, images/s",
        "its best",
        "fgrad, images/s",
        "ratio",
        "quartiles",
        "roofline",
    ]
    training = []
    for network, size in TRAINING:
        say(f"training: {network.name}, batch {size}")
        training.append(training_row(network, size, args.rounds, rate))
    inference = []
    for size in INFERENCE:
        say(f"inference: batch {size}")
        inference.append(inference_row(size, args.rounds, rate))
    say("memory")
    peaks = [
        [f"{network.name}, batch {size}"]
        + [f"{memory(side, network, size):,.0f} MB" for side in ("PyTorch", "fgrad")]
        for network, size in ((LENET, 256), (VGG, 64))
    ]
    by_size = growth([(size, LENET, size) for size in SIZES], say)
    by_width = growth([(width, LENET.wider(width), 64) for width in WIDTHS], say)
    growing = [
        [f"{what} {value:g}", f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.2f}"]
        for what, rows in (("batch", by_size), ("width", by_width))
        for value, theirs, ours in rows
    ]
    sections = {
        "Training, a compiled epoch": ([*head, "compile"], training),
        "Inference, a call from Python": (head, inference),
        "Peak memory of the process, one side alone": (["", "PyTorch", "fgrad"], peaks),
        "How LeNet's training grows": (
            ["", "PyTorch, images/s", "fgrad, images/s", "ratio"],
            growing,
        ),
    }
    text = (
        f"Measured by `python benchmarks/convolution.py` on {machine()}, "
        f"{jax.devices()[0].device_kind}, {args.precision}. A large matrix product "
        f"runs at {rate / 1e9:.0f} GFLOP/s there; the roofline is the share of it that the "
        f"network's own arithmetic makes up. Medians of {args.rounds} rounds.\n"
    )
    for title, (header, rows) in sections.items():
        text += f"\n### {title}\n\n{table(header, rows)}\n"
    print(text)
    if args.output:
        record = {
            "machine": machine(),
            "rounds": args.rounds,
            "product_rate": rate,
            "tables": {title: [header, *rows] for title, (header, rows) in sections.items()},
        }
        files.write_whole(args.output, text.encode())
        files.write_whole(args.output.with_suffix(".json"), json.dumps(record, indent=1).encode())
        draw(by_size, by_width, args.output.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    cli.run(main)
