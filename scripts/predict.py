"""Classify pictures of your own with a network that scripts/train_classifier.py trained.

A picture may be of any size, in grey or in colour. For networks that know light things on black,
as digits are, it may be a photograph of dark writing on paper as well: the light is evened out,
the writing cut out, centred and scaled. Where there are several separate things, or ink along the
border, the answer is called a guess, and no class gets more than half and an even share.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from fgrad import classifier, cli, data, files
from fgrad.classifier import folder
from fgrad.classifier.nets import SIZE


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="a picture file")
    add("--run", type=Path, default=Path("runs/digits"), metavar="DIR", help="(runs/digits)")
    add("--top", type=cli.at_least(1), default=3, metavar="N", help="classes to print (3)")
    add("--json", type=cli.output_file(), metavar="FILE", help="write all probabilities")
    return parser.parse()


def main() -> int:
    """Read, classify, print."""
    args = parse()
    network, params, run = folder.load(args.run)
    channels, classes, extent = run["channels"], run["classes"], run["extent"]
    mean, std = (np.array(run[name], np.float32) for name in ("mean", "std"))
    prepared = [
        classifier.prepare(path, size=SIZE, channels=channels, extent=extent)
        for path in args.images
    ]
    images = np.stack([picture.image for picture in prepared])
    scores = network.apply(params, data.standardise(data.to_float(images), mean, std))
    probabilities = np.asarray(jax.nn.softmax(scores), np.float64)
    doubtful = np.array([bool(picture.doubts) for picture in prepared])[:, None]
    probabilities = np.where(doubtful, classifier.tempered(probabilities), probabilities)
    width = max(map(len, map(str, args.images)))
    for path, row, (_, doubts) in zip(args.images, probabilities, prepared, strict=True):
        best = np.argsort(-row, kind="stable")[: args.top]
        guess = f"  a guess: {', '.join(doubts)}" if doubts else ""
        print(f"{path!s:{width}}  {'  '.join(f'{classes[i]} {row[i]:6.2%}' for i in best)}{guess}")
    if args.json:
        record = {
            str(path): dict(zip(classes, row.tolist(), strict=True))
            for path, row in zip(args.images, probabilities, strict=True)
        }
        files.write_whole(args.json, json.dumps(record, indent=1).encode())
    return 0


if __name__ == "__main__":
    cli.run(main)
