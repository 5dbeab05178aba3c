"""Time an epoch of the classifier against the bare training step, in turns.

The bare step runs as one compiled loop over batches that lie ready on the device, as numbers and
in order. An epoch picks its images from the data set in a new order, turns bytes into numbers, and
comes back to Python every half second; a run validates as well, and saves a checkpoint every ten
seconds. Random images will do: an image is as many numbers as another.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from measure import duration, in_turns, machine, ratio, table

from fgrad import classifier, cli, data, files, init_state, make_step, optim
from fgrad import functional as F
from fgrad.random import Generator
from fgrad.training import TrainState
from fgrad.types import Array, Batch, Params

IMAGES, HELD_OUT = 54_000, 6_000  # Fashion-MNIST's, split as the program does
ALLOWED = 1.05


def bare_step(batches: Batch, steps: int) -> Callable[[], object]:
    """Return a function that makes `steps` bare training steps."""
    apply = classifier.net("lenet").apply
    optimizer = optim.sgd(0.01, momentum=0.9)

    def loss_fn(params: Params, batch: Batch) -> Array:
        x, labels = batch
        return F.cross_entropy(apply(params, x), labels)

    step = make_step(loss_fn, optimizer)
    state = init_state(classifier.net("lenet").init(Generator(0)), optimizer)

    @jax.jit
    def run(state: TrainState, batches: Batch) -> TrainState:
        def body(i: Array, state: TrainState) -> TrainState:
            return step(state, jax.tree.map(lambda leaf: leaf[i], batches))[0]

        return lax.fori_loop(0, steps, body, state)

    return lambda: jax.block_until_ready(run(state, batches))


def compare(batch_size: int, folder: Path, repetitions: int) -> tuple[list[list[str]], float]:
    """Return a table's rows for one batch size, and the epoch's ratio to the bare steps."""
    draw = np.random.default_rng(0)

    def dataset(count: int) -> data.Dataset:
        images = draw.integers(0, 256, (count, 1, 32, 32), np.uint8)
        labels = draw.integers(0, 10, count).astype(np.int32)
        return data.Dataset(images, labels, tuple("0123456789"))

    train, validation = dataset(IMAGES), dataset(HELD_OUT)
    run = classifier.Run(
        classifier.net("lenet"),
        optim.sgd(0.01, momentum=0.9),
        train,
        validation,
        batch_size=batch_size,
        rng=Generator(0),
    )
    whole = IMAGES // batch_size * batch_size
    x = data.standardise(data.to_float(train.images[:whole]), run.mean, run.std)
    batches = jnp.asarray(x).reshape(-1, batch_size, 1, 32, 32)
    labels = jnp.asarray(train.labels[:whole]).reshape(-1, batch_size)
    steps = len(labels) - 1  # after an epoch's last one it validates
    bare = bare_step((batches, labels), steps)
    half_second = 1

    def epoch() -> None:
        run.step = 0
        while run.step < steps:
            run.advance(min(half_second, steps - run.step))

    def everything() -> None:
        run.step = 0
        classifier.fit(run, epochs=run.epoch + 1, folder=folder)

    bare()
    bare_times, *_ = in_turns(bare, repetitions=1)
    half_second = max(1, int(0.5 / bare_times[0] * steps))
    bare_times, epoch_times, run_times = in_turns(bare, epoch, everything, repetitions=repetitions)
    rows = []
    for name, times, images in (
        ("bare steps", bare_times, steps * batch_size),
        ("an epoch", epoch_times, steps * batch_size),
        ("with validation and checkpoints", run_times, IMAGES),
    ):
        median, low, high = ratio(times, bare_times)
        middle = float(np.median(times))
        rows.append(
            [
                str(batch_size),
                name,
                duration(middle),
                f"{images / middle:,.0f}",
                f"{median:.3f}",
                f"{low:.3f} to {high:.3f}",
            ]
        )
    return rows, ratio(epoch_times, bare_times)[0]


def main() -> int:
    """Measure, print and write."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=cli.at_least(2), default=9, metavar="N")
    parser.add_argument("--output", type=cli.output_file(".md"), metavar="FILE")
    args = parser.parse()
    rows: list[list[str]] = []
    ratios = []
    for batch_size in (64, 256):
        with tempfile.TemporaryDirectory() as folder:
            more, median = compare(batch_size, Path(folder), args.repetitions)
        rows += more
        ratios.append(median)
    header = ["batch", "LeNet", "time", "images/s", "ratio to bare", "quartiles"]
    text = f"Measured by `python benchmarks/classifier.py` on {machine()}.\n\n"
    text += f"{table(header, rows)}\n"
    print(text)
    if args.output:
        files.write_whole(args.output, text.encode())
    if max(ratios) > ALLOWED:
        line = f"an epoch takes {max(ratios):.3f} times as long as its bare steps"
        print(f"{parser.prog}: error: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    cli.run(main)
