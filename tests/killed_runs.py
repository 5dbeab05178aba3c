"""Kill a program at random moments, and go on with it each time, for test_classifier_scripts.py.

A process that has imported everything forks a child for every try, so that a try takes a second
and not five. The child runs the script itself. Prints a line of JSON: how many tries were killed,
how many of them while a checkpoint was being written, and the folders of the runs that ended.
"""

import json
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

import matplotlib.figure
import orbax.checkpoint
import sklearn.datasets

import fgrad.classifier.folder
import fgrad.plots

IMPORTED = (matplotlib.figure, orbax.checkpoint, sklearn.datasets, fgrad.classifier, fgrad.plots)
SPAN = 2.0  # seconds in which a try is killed: starting takes half of them


def start(script: str, out: Path, options: list[str]) -> int:
    """Run the script in a child, and return its process number."""
    resume = ["--resume"] if (out / "run.json").exists() else options
    if child := os.fork():
        return child
    sys.argv = [script, "--out", str(out), *resume]
    os.dup2(os.open(out.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        os._exit(int(end.code or 0))
    finally:
        os._exit(70)


def ended(child: int) -> bool:
    """Return whether a child is done; it must have done well."""
    found, status = os.waitpid(child, os.WNOHANG)
    assert found == 0 or status == 0, f"exit status {status}"
    return found != 0


def writing(out: Path) -> bool:
    """Return whether a checkpoint is being written."""
    return any((out / "checkpoints").glob(".*.partial"))


def main() -> None:
    """Kill so many tries, then let the last run end."""
    script, folder, kills, seed, *options = sys.argv[1:]
    draw = random.Random(int(seed))
    outs = [Path(folder) / "run0"]
    killed = in_writing = 0
    while killed < int(kills):
        child = start(script, outs[-1], options)
        time.sleep(draw.uniform(0, SPAN))
        if draw.random() < 0.4:  # wait for a checkpoint, to be killed somewhere within it
            while not writing(outs[-1]) and not ended(child):
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.05))
        try:
            done = ended(child)
        except ChildProcessError:  # seen to end while waiting
            done = True
        if done:
            outs.append(outs[-1].with_name(f"run{len(outs)}"))
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        in_writing += writing(outs[-1])
    child = start(script, outs[-1], options)
    while not ended(child):
        time.sleep(0.01)
    print(json.dumps({"killed": killed, "in_writing": in_writing, "outs": list(map(str, outs))}))


if __name__ == "__main__":
    main()
