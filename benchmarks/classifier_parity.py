"""Train LeNet on Fashion-MNIST in fgrad and in PyTorch, from the same seeds.

The same parameters to begin with, the same order of the images, momentum SGD in float32. Fails
unless the first 200 losses follow PyTorch's to 1e-4 relative, and the mean accuracy on the test
images, over the seeds, is PyTorch's within the spread between seeds. Needs PyTorch
(pip install -e ".[vision,parity]"), and takes some minutes.
"""

import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import torch
from measure import machine, table
from pytorch_classifier import accuracy, train

from fgrad import classifier, cli, data, files, init_state, optim
from fgrad.random import Generator

BATCH_SIZE, LR, MOMENTUM = 64, 0.01, 0.9
STEPS, TOLERANCE = 200, 1e-4


class Comparison:
    """Fashion-MNIST on both sides, and fgrad's compiled programs."""

    def __init__(self, folder: Path) -> None:
        """Read the images, standardised by NumPy to the same bits for both."""
        self.train, self.test = classifier.load_dataset("fashion-mnist", folder)
        self.mean, self.std = data.channel_statistics(self.train.images)
        self.tensors = [
            (
                torch.from_numpy(data.standardise(data.to_float(part.images), self.mean, self.std)),
                torch.from_numpy(part.labels).long(),
            )
            for part in (self.train, self.test)
        ]
        self.placed, self.held_out = (
            classifier.place(part, self.mean, self.std) for part in (self.train, self.test)
        )
        self.net = classifier.net("lenet")
        self.optimizer = optim.sgd(LR, MOMENTUM)
        self.advance = classifier.make_advance(self.net.apply, self.optimizer)
        self.evaluate = classifier.make_evaluate(self.net.apply)

    def ours(self, seed: int, epochs: int) -> tuple[list[float], float]:
        """Return the losses of the first steps, and the final accuracy."""
        rng = Generator(seed)
        count = len(self.train.labels)
        state = init_state(self.net.init(rng), self.optimizer)
        losses: list[float] = []
        for _ in range(epochs):
            order = classifier.batches(data.epoch_order(rng, count), BATCH_SIZE)
            epoch = classifier.begin(state, len(order), jax.random.key(0))
            epoch = self.advance(epoch, self.placed, order, 0, len(order))
            state = epoch.train
            losses = losses or epoch.losses[:STEPS].tolist()
        order = classifier.batches(np.arange(len(self.test.labels)), 1000)
        _, scores = self.evaluate(state.params, self.held_out, order)
        return losses, float((np.argmax(scores, 1) == self.test.labels).mean())

    def theirs(self, seed: int, epochs: int) -> tuple[list[float], float]:
        """Return the same of PyTorch."""
        steps = epochs * -(-len(self.train.labels) // BATCH_SIZE)
        run = train(*self.tensors[0], seed=seed, batch_size=BATCH_SIZE, lr=LR, momentum=MOMENTUM)
        *before, (net, last) = itertools.islice(run, steps)
        losses = [*(loss for _, loss in before), last]
        return losses[:STEPS], accuracy(net, *self.tensors[1])


def main() -> int:
    """Compare, print and write."""
    parser = cli.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, metavar="DIR", help="where Fashion-MNIST is")
    add("--epochs", type=cli.at_least(1), default=3, metavar="N", help="of every run (3)")
    add("--seeds", type=cli.at_least(2), default=5, metavar="N", help="how many (5)")
    add("--output", type=cli.output_file(".json"), metavar="FILE", help="write all numbers")
    args = parser.parse()
    comparison = Comparison(args.data_dir)
    rows, runs = [], []
    for seed in range(args.seeds):
        losses, right = comparison.ours(seed, args.epochs)
        their_losses, their_right = comparison.theirs(seed, args.epochs)
        error = np.max(np.abs(np.array(losses) / np.array(their_losses) - 1))
        rows.append([str(seed), f"{error:.1e}", f"{their_right:.2%}", f"{right:.2%}"])
        print(f"seed {', '.join(rows[-1])}", file=sys.stderr, flush=True)
        runs.append([losses, their_losses, right, their_right])
    errors = [float(np.max(np.abs(np.array(a) / np.array(b) - 1))) for a, b, _, _ in runs]
    ours, theirs = (np.array([run[i] for run in runs]) for i in (2, 3))
    spread = float(theirs.std(ddof=1))
    difference = float(ours.mean() - theirs.mean())
    rows.append(["mean", "", f"{theirs.mean():.2%}", f"{ours.mean():.2%}"])
    rows.append(["spread", "", f"{theirs.std(ddof=1):.2%}", f"{ours.std(ddof=1):.2%}"])
    header = ["seed", f"largest difference of {STEPS} losses", "PyTorch", "fgrad"]
    print(f"{args.epochs} epochs, batches of {BATCH_SIZE}, lr {LR}, momentum {MOMENTUM};")
    print(f"{machine()}\n\n{table(header, rows)}")
    if args.output:
        record = {"machine": machine(), "epochs": args.epochs, "runs": runs}
        files.write_whole(args.output, json.dumps(record).encode())
    problems = []
    if max(errors) > TOLERANCE:
        problems.append(f"losses differ by {max(errors):.1e}, more than {TOLERANCE}")
    if abs(difference) > spread:
        problems.append(f"mean accuracies differ by {difference:.2%}, seeds by {spread:.2%}")
    for problem in problems:
        print(f"{parser.prog}: error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    cli.run(main)
