"""Time fgrad's random numbers beside PyTorch's, one after the other in each round.

Prints the median of each and of their ratio, with its quartiles. Needs PyTorch:

    python benchmarks/generator.py [--rounds N]
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from fgrad.random import Generator

MILLIONS = 10_000_000
SHUFFLED = 60_000


def main() -> None:
    """Run every case for the rounds asked for."""
    parser = argparse.ArgumentParser(description="Time fgrad's random numbers beside PyTorch's.")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each (15)")
    rounds = parser.parse_args().rounds
    print(
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, PyTorch {torch.__version__} on {torch.get_num_threads()} threads"
    )
    print(f"{'':28}{'fgrad':>10}{'PyTorch':>12}{'ratio':>9}   (quartiles), {rounds} rounds")
    rng, generator = Generator(0), torch.Generator().manual_seed(0)
    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "rand, 10 million": (
            lambda: rng.rand((MILLIONS,)),
            lambda: torch.rand(MILLIONS, generator=generator),
        ),
        "uniform, 10 million": (
            lambda: rng.uniform((MILLIONS,), -0.3, 0.3),
            lambda: torch.empty(MILLIONS).uniform_(-0.3, 0.3, generator=generator),
        ),
        "uniform float64, 10 million": (
            lambda: rng.uniform((MILLIONS,), -0.3, 0.3, dtype=np.float64),
            lambda: torch.empty(MILLIONS, dtype=torch.float64).uniform_(
                -0.3, 0.3, generator=generator
            ),
        ),
        "randn, 10 million": (
            lambda: rng.randn((MILLIONS,)),
            lambda: torch.randn(MILLIONS, generator=generator),
        ),
        "randperm, 60 thousand": (
            lambda: rng.randperm(SHUFFLED),
            lambda: torch.randperm(SHUFFLED, generator=generator),
        ),
    }
    for name, (ours, theirs) in cases.items():
        ours()
        theirs()
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
        mine, other = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        low, middle, high = statistics.quantiles((a / b for a, b in pairs), n=4)
        print(f"{name:28}{mine:7.1f} ms{other:9.1f} ms{middle:9.2f}   ({low:.2f} to {high:.2f})")


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model n")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
