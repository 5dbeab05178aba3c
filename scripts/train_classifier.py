"""Train a classifier on real images, judge it, and leave it ready for use.

Without options: LeNet on scikit-learn's handwritten digits. The folder --out then holds

checkpoints/         from which --resume goes on, bit for bit
metrics.jsonl        every epoch's losses and accuracies
curves.png           the same, with the verdict on under- or overfitting
confusion.png        which class was taken for which
examples.png         images classified right and wrong
results.json         test accuracy, confusion matrix, verdict
model.safetensors    the best epoch's parameters, for scripts/predict.py and for PyTorch
"""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import optax

from fgrad import checkpoint, classifier, cli, data, optim
from fgrad.classifier import DEFAULTS, NAMES, folder
from fgrad.classifier.nets import SIZE
from fgrad.random import Generator
from fgrad.types import Array

HELD_OUT = 0.1  # of the training images, to choose the best epoch by

READERS: Mapping[str, Callable[[str], object]] = {
    "epochs": cli.at_least(1),
    "batch_size": cli.at_least(1),
    "lr": cli.positive,
    "momentum": cli.finite,
    "shift": cli.at_least(0, at_most=SIZE),
    "seed": cli.seed,
}
CHOICES = {"dataset": tuple(DEFAULTS), "net": NAMES, "flip": (True, False)}


def parse() -> tuple[cli.ArgumentParser, argparse.Namespace]:
    """Read the command line; what is not given is None."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", choices=CHOICES["dataset"], help="what to train on (digits)")
    add("--data-dir", type=Path, metavar="DIR", help="where the data set is")
    add("--download", action="store_true", help="fetch it first, into DIR or a cache")
    add("--net", choices=CHOICES["net"], help="(lenet)")
    add("--epochs", type=READERS["epochs"], metavar="N", help="passes over the training images")
    add("--batch-size", type=READERS["batch_size"], metavar="N", help="images in a step")
    add("--lr", type=READERS["lr"], metavar="R", help="learning rate at first; it falls to 0")
    add("--momentum", type=READERS["momentum"], metavar="M", help="of SGD (0.9)")
    add("--shift", type=READERS["shift"], metavar="N", help="augment: pixels")
    add("--flip", action=argparse.BooleanOptionalAction, help="augment: left to right")
    add("--seed", type=READERS["seed"], metavar="N", help="as in torch.manual_seed(N) (0)")
    add("--out", type=Path, metavar="DIR", help="(runs/ and the data set's name)")
    add("--save-every", type=cli.finite, metavar="S", default=10.0, help="seconds (10)")
    add("--resume", action="store_true", help="go on with the run in --out")
    args = parser.parse()
    args.out = args.out or Path("runs") / (args.dataset or "digits")
    if not args.resume:  # of a finished run there may be nothing to write
        try:
            cli.output_folder(str(args.out))
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --out: {error}")
    return parser, args


def settle(parser: cli.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Fill in what was not given, from the run to go on with or from the data set's defaults."""
    before = folder.described(args.out)
    if args.resume and before is None:
        parser.error(f"argument --resume: expected a run in {args.out}, got none")
    if before is not None and not args.resume:
        parser.error(
            f"argument --out: {args.out} holds a run; go on with --resume, or choose another"
        )
    saved: dict[str, Any] = {}
    if before is not None:
        try:
            saved = read_back(before["settings"])
            if args.data_dir is None and before["data_dir"] is not None:
                args.data_dir = Path(before["data_dir"])
        except KeyError as error:
            parser.error(f"argument --resume: the run in {args.out} is damaged: no {error}")
        except (TypeError, ValueError) as error:
            parser.error(f"argument --resume: the run in {args.out} is damaged: {error}")
    dataset = args.dataset or saved.get("dataset", "digits")
    values = {"dataset": dataset, "net": "lenet", "seed": 0, **DEFAULTS[dataset]._asdict()}
    values |= {name: saved[name] for name in values if name in saved}
    for name, value in values.items():
        given = getattr(args, name)
        if given is not None and name in saved and given != value:
            option = f"--{name.replace('_', '-')}"
            parser.error(
                f"argument {option}: expected {value} as the run in {args.out} has, got {given}"
            )
        values[name] = value if given is None else given
    return values


def read_back(saved: object) -> dict[str, Any]:
    """Return a run's settings out of its description, read as the options are."""
    if not isinstance(saved, dict):
        raise ValueError(f"settings: expected all by name, got {saved!r}")
    settings = dict(saved)
    for name, choices in CHOICES.items():
        if settings[name] not in choices:
            raise ValueError(f"{name}: expected one of {choices}, got {settings[name]!r}")
    for name, read in READERS.items():
        try:
            settings[name] = read(str(settings[name]))
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{name}: {error}") from None
    return settings


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which versions are others than those that the run was started with."""
    names = ("fgrad", "jax", "jaxlib", "numpy", "optax", "device")
    others = [name for name in names if before.get(name) != now[name]]
    return "; ".join(f"{name} {before.get(name)}, now {now[name]}" for name in others)


def augmentation(shift: int, flip: bool) -> classifier.Augment | None:
    """Return what is done to the images of a step, at random."""
    if not shift and not flip:
        return None

    def augment(key: Array, images: Array) -> Array:
        keys = jax.random.split(key)
        if shift:
            images = data.random_crop(keys[0], images, SIZE, padding=shift)
        return data.random_flip(keys[1], images) if flip else images

    return augment


def train(parser: cli.ArgumentParser, args: argparse.Namespace) -> int:
    """Train, judge and write; return the exit code."""
    settings = settle(parser, args)
    epochs, dataset, seed = (settings[name] for name in ("epochs", "dataset", "seed"))
    if args.download:
        args.data_dir = data.download(dataset, args.data_dir)
    splits = classifier.load_dataset(dataset, args.data_dir, seed=seed)
    training, validation = data.split(splits.train, HELD_OUT, Generator(seed))
    channels, classes = training.images.shape[1], training.classes
    steps = -(-len(training.labels) // settings["batch_size"])
    run = classifier.Run(
        classifier.net(settings["net"], channels=channels, classes=len(classes)),
        optim.sgd(
            optax.cosine_decay_schedule(settings["lr"], epochs * steps), settings["momentum"]
        ),
        training,
        validation,
        batch_size=settings["batch_size"],
        rng=Generator(seed),
        augment=augmentation(settings["shift"], settings["flip"]),
        key=jax.random.key(seed % 2**32),
        settings=settings,
    )
    checkpoints, versions = args.out / folder.CHECKPOINTS, cli.versions()
    if args.resume and checkpoint.exists(checkpoints):
        for line in run.restore(checkpoints):
            print(f"{parser.prog}: warning: {line}; using the one before", file=sys.stderr)
        saved = (folder.described(args.out) or {}).get("versions")
        saved = saved if isinstance(saved, dict) else {}
        if saved and (others := changed(saved, versions)):
            line = f"the run had {others}: from here on not bit for bit what it would have been"
            print(f"{parser.prog}: warning: {line}", file=sys.stderr)
        versions = saved or versions
        print(f"going on after epoch {run.epoch}, step {run.step} of {run.steps}")
    description = {
        "settings": settings,
        "data_dir": args.data_dir and str(args.data_dir.absolute()),
        "net": settings["net"],
        "channels": channels,
        "classes": classes,
        "mean": run.mean.tolist(),
        "std": run.std.tolist(),
        "extent": classifier.light_on_dark(training.images),
        "versions": versions,
    }
    folder.describe(args.out, description)
    folder.write_metrics(args.out, run.records)

    stopped = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one does not wait

    signal.signal(signal.SIGINT, stop)
    start, before = time.perf_counter(), run.epoch
    with classifier.display(run, epochs) as show:

        def progress(pace: classifier.Pace) -> None:
            show(pace)
            if not run.step:
                folder.write_metrics(args.out, run.records)

        finished = classifier.fit(
            run,
            epochs=epochs,
            folder=checkpoints,
            save_every=args.save_every,
            on_progress=progress,
            should_stop=lambda: stopped,
        )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not finished:
        command = shlex.join(["python", sys.argv[0], "--resume", "--out", str(args.out)])
        print(f"stopped in epoch {run.epoch + 1}, after step {run.step}; go on with: {command}")
        return 130
    seconds = time.perf_counter() - start
    results = folder.finish(args.out, run, splits.test)
    if illegible := folder.illegible(classes):
        line = f"no font here has all letters of {', '.join(illegible)}; drawn as numbers"
        print(f"{parser.prog}: warning: {line}", file=sys.stderr)
    print(f"{run.epoch - before} epochs in {seconds:.1f} s\n\n{folder.summary(results, run)}")
    left = sorted(path.name for path in args.out.iterdir() if path.name[0] != ".")
    print(f"in {args.out}: {', '.join(left)}")
    return 0


def main() -> int:
    """Keep other runs out of the folder, and train."""
    parser, args = parse()
    with folder.claim(args.out):
        return train(parser, args)


if __name__ == "__main__":
    cli.run(main)
