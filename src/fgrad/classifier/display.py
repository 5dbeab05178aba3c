"""What is shown while a classifier trains: a live line on a terminal, a line an epoch elsewhere."""

import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator

from fgrad.classifier.fit import Pace
from fgrad.classifier.run import Run


@contextlib.contextmanager
def display(run: Run, epochs: int) -> Iterator[Callable[[Pace], None]]:
    """Show a run's progress on standard output.

    Args:
        run: The run.
        epochs: How many epochs it is to have.

    Yields:
        What to call after every call of the compiled program, as `fit` does `on_progress`.
    """
    shown = run.epoch

    def lines() -> Iterator[str]:
        nonlocal shown
        for record in run.records[shown:]:
            yield (
                f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}  "
                f"loss {record['loss']:.4f}  accuracy {record['accuracy']:.2%}  "
                f"validation loss {record['validation_loss']:.4f}  "
                f"accuracy {record['validation_accuracy']:.2%}"
            )
        shown = run.epoch

    if not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:

        def show(pace: Pace) -> None:
            for line in lines():
                print(f"{line}  {_words(pace)}", flush=True)

        yield show
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = [
        TextColumn("epoch {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[now]}"),
    ]
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(f"{run.epoch + 1}/{epochs}", total=epochs * run.steps, now="")

        def show(pace: Pace) -> None:
            for line in lines():
                progress.console.print(line, highlight=False, soft_wrap=True)
            now = _words(pace)
            if run.step:
                loss, accuracy = run.so_far()
                now = f"loss {loss:.4f}  accuracy {accuracy:.2%}  {now}"
            progress.update(
                task,
                completed=run.epoch * run.steps + run.step,
                description=f"{min(run.epoch + 1, epochs)}/{epochs}",
                now=now,
            )

        yield show


def _words(pace: Pace) -> str:
    if math.isnan(pace.seconds_left):
        return "compiling"
    minutes, seconds = divmod(round(pace.seconds_left), 60)
    return f"{pace.images_per_second:,.0f} images/s  {minutes}:{seconds:02} left"
