"""A training run from here to its last epoch, saved as it goes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fgrad.classifier.run import Run
from fgrad.training import DivergenceError

_CALL = 0.5  # seconds that a call of the compiled program is to take


class Pace(NamedTuple):
    """How fast a run goes.

    Attributes:
        images_per_second: Since training began, validation included; NaN while it compiles.
        seconds_left: Until the last epoch is done, at this pace.
    """

    images_per_second: float
    seconds_left: float


def fit(
    run: Run,
    *,
    epochs: int,
    folder: str | os.PathLike[str] | None = None,
    save_every: float = 10.0,
    on_progress: Callable[[Pace], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> bool:
    """Train until so many epochs are done.

    Between two calls of the compiled program, of half a second each, there is time for a display,
    a checkpoint, and to stop.

    Args:
        run: The run; it is advanced.
        epochs: How many epochs to have done in all.
        folder: Where to save checkpoints: before the first step, which shows that it can be
            written, and when training ends. None saves nothing, and nor does a run that is done
            already and has gone on from a checkpoint there.
        save_every: Seconds between checkpoints.
        on_progress: Called after each call of the compiled program.
        should_stop: Asked before each call; if it says so, the run is saved and left.

    Returns:
        Whether all epochs are done.

    Raises:
        DivergenceError: (a ValueError) If a loss or a parameter is no longer finite; the last
            checkpoint before stays.
        OSError: If a checkpoint cannot be written; those before stay.

    Example:
        >>> from fgrad import classifier, data, optim
        >>> from fgrad.random import Generator
        >>> train, validation = data.digits()
        >>> run = Run(classifier.net("mlp"), optim.sgd(0.01), train, validation, batch_size=64,
        ...           rng=Generator(0))
        >>> fit(run, epochs=2)
        True
        >>> len(run.records)
        2
    """
    due = time.monotonic()
    steps, seconds = 0, 0.0
    compiled = False
    while run.epoch < epochs and not (should_stop and should_stop()):
        if folder is not None and time.monotonic() >= due:
            run.save(folder)
            due = time.monotonic() + save_every
        start = time.perf_counter()
        made = _advance(run, max(1, int(steps / seconds * _CALL)) if seconds else 1, folder)
        # The first call compiles, and says nothing about the pace.
        if compiled:
            steps, seconds = steps + made, seconds + time.perf_counter() - start
        compiled = True
        left = (epochs - run.epoch) * run.steps - run.step
        if on_progress:
            pace = steps / seconds if seconds else float("nan")
            on_progress(Pace(pace * run.batch_size, left / pace))
    if folder is not None and run.saved != (run.epoch, run.step, Path(folder).resolve()):
        run.save(folder)
    return run.epoch >= epochs


def _advance(run: Run, count: int, folder: str | os.PathLike[str] | None) -> int:
    """Advance the run; if it diverges, say where the last good checkpoint is."""
    try:
        return run.advance(count)
    except DivergenceError as error:
        if folder is None:
            raise
        raise DivergenceError(
            f"{error}; the last good checkpoint is in {folder}",
            epoch=error.epoch,
            step=error.step,
            state=error.state,
            history=error.history,
        ) from error
