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
import sys

import convolution_growth
import fgrad_networks
import jax
import jax.numpy as jnp
import numpy as np
import peak_memory
import pytorch_networks
import torch
from fgrad_networks import batches_of, flops
from measure import against_the_best, duration, in_turns, machine, ratio, table
from networks import CIFAR_LENET, CONVNET, LENET, VGG, Network, random_batches
from pytorch_networks import Variant, device
from torch.nn import functional as T

from fgrad import cli, files, interop, plots

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
MEMORY = [(LENET, 256), (VGG, 64)]


def check(network: Network, size: int) -> None:
    """Raise if the two sides' loss or gradients differ on a batch."""
    module = pytorch_networks.module(network)
    (images,), (labels,) = random_batches(network, size, 1)
    loss = T.cross_entropy(module(torch.from_numpy(images)), torch.from_numpy(labels).long())
    names, tensors = zip(*module.named_parameters(), strict=True)
    expected = dict(zip(names, torch.autograd.grad(loss, tensors), strict=True))
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    with jax.default_matmul_precision("highest"):  # as PyTorch's side, which runs on the CPU here
        ours, gradients = jax.jit(
            jax.value_and_grad(functools.partial(fgrad_networks.loss, network))
        )(interop.from_state_dict(arrays), (images, labels))
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-5)
    for name, tensor in expected.items():
        layer, kind = name.split(".")
        scale = float(tensor.abs().max())
        np.testing.assert_allclose(
            gradients[layer][kind], tensor.numpy(), rtol=1e-4, atol=1e-4 * scale
        )


def product_rate() -> float:
    """Return the floating-point operations a second of a large matrix product."""
    matrix = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(jnp.matmul)
    (times,) = in_turns(lambda: product(matrix, matrix).block_until_ready(), repetitions=9)
    return 2 * 2048**3 / min(times)


def training_row(network: Network, size: int, rounds: int, rate: float) -> list[str]:
    """Return a table's row on training with one batch size."""
    count = batches_of(network, size)
    check(network, size)
    data = random_batches(network, size, count)
    ours, compile_time = fgrad_networks.training(network, *data)
    theirs = {
        name: pytorch_networks.training(
            Variant(name, device()), pytorch_networks.module(network), *data
        )
        for name in pytorch_networks.names(device())
    }
    variant, other, own = against_the_best(ours, theirs, rounds)
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
    calls = 500 if size == 1 else 20
    ((images,), _) = random_batches(LENET, size, 1)
    ours = fgrad_networks.inference(LENET, images, calls)
    theirs = {
        name: pytorch_networks.inference(
            Variant(name, device()), pytorch_networks.module(LENET), images, calls
        )
        for name in pytorch_networks.names(device())
        if name != "CUDA graphs"
    }
    variant, other, own = against_the_best(ours, theirs, rounds)
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


def main() -> int:
    """Measure, print and write."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=cli.output_file(".md"), metavar="FILE")
    parser.add_argument("--rounds", type=cli.at_least(3), default=15, help="timings of each (15)")
    parser.add_argument(
        "--precision", choices=("float32", "tf32"), default="float32", help="of a GPU's products"
    )
    args = parser.parse()
    own, other = jax.default_backend(), device().type
    if (own, other) not in (("cpu", "cpu"), ("gpu", "cuda")):
        raise ValueError(f"device: expected one kind, got JAX on {own}, PyTorch on {other}")
    # The same on both sides: left to themselves, they differ on a GPU.
    precision = {"float32": "highest", "tf32": "tensorfloat32"}[args.precision]
    jax.config.update("jax_default_matmul_precision", precision)
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"

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
        + [
            f"{peak_memory.peak(side, network, size, batches_of(network, size)):,.0f} MB"
            for side in peak_memory.SIDES
        ]
        for network, size in MEMORY
    ]
    say("growth")
    by_size, by_width = convolution_growth.measured(device())
    growing = [
        [f"{what} {value:g}", f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.2f}"]
        for what, rows in (("batch", by_size), ("width", by_width))
        for value, theirs, ours in rows
    ]
    sections = {
        "Training, a compiled epoch": ([*head, "compile"], training),
        "Inference, a call from Python": (head, inference),
        "Peak memory of the process, one side alone": (["", *peak_memory.SIDES], peaks),
        "How LeNet's training grows, against the better of plain and channels_last, 3 rounds": (
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
        figure = convolution_growth.figure(by_size, by_width)
        files.write_whole(args.output.with_suffix(".png"), plots.encode(figure, ".png"))
    return 0


if __name__ == "__main__":
    cli.run(main)
