"""Print the peak memory of a process that trains a network with one side alone, in megabytes.

`python benchmarks/peak_memory.py fgrad LeNet 256 40` trains fgrad's LeNet for an epoch of 40
batches of 256 images. The process imports PyTorch or JAX, whichever it trains with, and not both.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from networks import NETWORKS, Epoch, Network, random_batches

SIDES = ("PyTorch", "fgrad")


def peak(side: str, network: Network, size: int, count: int) -> float:
    """Return the peak megabytes of a process that trains for an epoch with one side alone.

    Args:
        side: One of `SIDES`.
        network: What to train.
        size: How many images a batch has.
        count: How many batches an epoch has.
    """
    command = [sys.executable, __file__, side, network.name, str(size), str(count)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout)


def training(side: str, network: Network, size: int, count: int) -> Epoch:
    """Return an epoch of one side over random batches; only that side is imported."""
    batches = random_batches(network, size, count)
    if side == "fgrad":
        import fgrad_networks

        return fgrad_networks.training(network, *batches)[0]
    import pytorch_networks

    variant = pytorch_networks.Variant("plain", pytorch_networks.device())
    return pytorch_networks.training(variant, pytorch_networks.module(network), *batches)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("size", type=int, help="how many images a batch has")
    parser.add_argument("count", type=int, help="how many batches the epoch has")
    args = parser.parse_args()
    training(args.side, NETWORKS[args.network], args.size, args.count)()
    # Of this process alone: the peak that getrusage tells comes down from the parent.
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))


if __name__ == "__main__":
    main()
