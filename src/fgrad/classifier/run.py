"""A training run: where it is, a step further, and its checkpoints."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import optax

from fgrad import checkpoint
from fgrad.classifier import epoch as epochs
from fgrad.classifier.nets import Net
from fgrad.data import Dataset, channel_statistics, checked, epoch_order
from fgrad.random import Generator
from fgrad.training import DivergenceError, init_state
from fgrad.types import Array, Params

_AT_A_TIME = 256  # images in an evaluation

Record = dict[str, int | float]
"""An epoch's losses and accuracies."""

_RECORDED = {
    "epoch",
    "updates",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_standard_error",
}


class Run:
    """A classifier being trained, some steps at a time.

    The order of every epoch is `DataLoader(shuffle=True)`'s, from `rng`. After each epoch the
    network is applied to the validation images. Everything that the coming steps depend on is in a
    checkpoint, so that a run that goes on from one computes what it would have, bit for bit.

    Args:
        net: The network.
        optimizer: Any optax transformation.
        train: The images to train on.
        validation: The images to choose the best epoch by.
        batch_size: How many images a step takes, 1 up to all of them.
        rng: The generator that the parameters are drawn from, then each epoch's order.
        augment: What to do to the images of a step at random: `augment(key, images) -> images`.
        key: The `jax.random.key` for it.
        settings: What else tells this run from others, as JSON can hold it: a checkpoint with
            other settings, batch size or images is refused.

    Attributes:
        epoch: How many epochs are done.
        step: How many steps of the next one are.
        steps: How many steps an epoch has.
        batch_size: How many images a step takes.
        records: For each epoch done: its number from 1, the updates so far, the mean loss and the
            accuracy over the epoch's own steps, and over the validation images after it with that
            loss's standard error.
        best: The parameters after the best epoch.
        best_epoch: Its number from 1, 0 before the first: the most accurate one in validation,
            among those the one of the lowest loss.
        saved: The epoch and step of the checkpoint last written or gone on from, and its folder;
            None if there is none.

    Raises:
        ValueError: If `batch_size` is out of range; if a data set's images, labels and classes do
            not go together, as `fgrad.data.checked` has it; or if `validation` has images of
            another shape, or other classes, than `train`, or `net` scores another number of them.

    Example:
        >>> from fgrad import classifier, data, optim
        >>> train, _ = data.digits()
        >>> train, validation = data.split(train, 0.5, Generator(0))
        >>> run = Run(classifier.net("mlp"), optim.sgd(0.01), train, validation, batch_size=103,
        ...           rng=Generator(0))
        >>> run.advance(100)
        7
        >>> [*run.records[0]][2:4]
        ['loss', 'accuracy']
    """

    def __init__(
        self,
        net: Net,
        optimizer: optax.GradientTransformation,
        train: Dataset,
        validation: Dataset,
        *,
        batch_size: int,
        rng: Generator,
        augment: epochs.Augment | None = None,
        key: Array | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Draw the parameters, and put the data on the device."""
        train, validation = checked(train, "train"), checked(validation, "validation")
        _check_alike(train, validation)
        self.classes = train.classes
        self.mean, self.std = channel_statistics(train.images)
        self.std[self.std == 0] = 1  # a channel without contrast
        self._images = len(train.labels)
        self.batch_size = batch_size
        epochs.batches(np.arange(self._images), batch_size)  # refused before anything takes time
        self.steps = -(-self._images // batch_size)
        self._settings = {
            **(settings or {}),
            "batch_size": batch_size,
            "images": _digest(train, validation),
        }
        self._advance = epochs.make_advance(net.apply, optimizer, augment=augment)
        self._evaluate = epochs.make_evaluate(net.apply)
        self._train, self._validation = (
            epochs.place(dataset, self.mean, self.std) for dataset in (train, validation)
        )
        self.epoch = self.step = self.best_epoch = 0
        self.records: list[Record] = []
        self.saved: tuple[int, int, Path] | None = None
        params = net.init(rng)
        _check_scores(net, params, train)
        key = jax.random.key(0) if key is None else key
        self._state = epochs.begin(init_state(params, optimizer), self.steps, key)
        self.best = self._state.train.params
        self._rng = rng
        self._rng_state = rng.get_state()  # before the epoch's order is drawn
        self._order: npt.NDArray[np.int32] | None = None

    @property
    def params(self) -> Params:
        """The parameters after the last step."""
        return self._state.train.params

    @property
    def losses(self) -> npt.NDArray[Any]:
        """The losses of this epoch's steps so far, of shape (step,)."""
        return np.asarray(self._state.losses)[: self.step]

    def so_far(self) -> tuple[float, float]:
        """Return the mean loss and the accuracy over this epoch's steps so far."""
        if not self.step:
            return (np.nan, np.nan)
        return self._means(self.step)

    def advance(self, count: int) -> int:
        """Make some steps, as far as the epoch goes; at its end, validate.

        Args:
            count: How many steps, 1 or more.

        Returns:
            How many were made.

        Raises:
            DivergenceError: (a ValueError) If a loss or a parameter is no longer finite.
        """
        if self._order is None:
            self._order = epochs.batches(epoch_order(self._rng, self._images), self.batch_size)
        start, stop = self.step, min(self.step + count, self.steps)
        self._state = self._advance(self._state, self._train, self._order, start, stop)
        self.step = stop
        losses = self.losses
        if not np.isfinite(losses).all():
            self._diverged("the loss", int(np.argmin(np.isfinite(losses))))
        if stop == self.steps:
            self._end_epoch()
        return stop - start

    def predict(self, dataset: Dataset, params: Params) -> tuple[float, npt.NDArray[np.float64]]:
        """Apply the network to a data set.

        Args:
            dataset: The images and their labels.
            params: The parameters, say `best`.

        Returns:
            The mean cross entropy, and the probabilities, of shape (N, classes).

        Raises:
            ValueError: As `fgrad.data.checked`, for the classes that the run has.
        """
        dataset = checked(dataset._replace(classes=self.classes))
        losses, scores = self._losses_and_scores(params, epochs.place(dataset, self.mean, self.std))
        return float(losses.mean()), np.asarray(jax.nn.softmax(scores), np.float64)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint of this place in the run, as `fgrad.checkpoint.save`.

        Args:
            folder: Where the checkpoints are.

        Raises:
            DivergenceError: (a ValueError) If a parameter is not finite; nothing is written then.
            OSError: If it cannot be written.
        """
        self._check_params()
        info = {
            "epoch": self.epoch,
            "step": self.step,
            "best_epoch": self.best_epoch,
            "records": self.records,
        }
        step = self.epoch * self.steps + self.step
        checkpoint.save(folder, self._tree(), step=step, settings=self._settings, info=info)
        self.saved = (self.epoch, self.step, Path(folder).resolve())

    def restore(self, folder: str | os.PathLike[str]) -> list[str]:
        """Go on from the latest checkpoint that is whole.

        Args:
            folder: Where the checkpoints are.

        Returns:
            A line for each later one that is damaged.

        Raises:
            ValueError: If there is none, or it is of a run with other settings, or of no run.
        """
        found = checkpoint.restore(folder, self._tree(), settings=self._settings)
        info = self._checked_info(found)
        self.epoch, self.step = info["epoch"], info["step"]
        self.best_epoch, self.records = info["best_epoch"], info["records"]
        self._state, self.best = found.tree["epoch"], found.tree["best"]
        self._rng_state = found.tree["rng"]
        self._rng.set_state(self._rng_state)
        self._order = None
        self.saved = (self.epoch, self.step, Path(folder).resolve())
        return found.damaged

    def _checked_info(self, found: checkpoint.Checkpoint) -> dict[str, Any]:
        """Return where a checkpoint's run was; another program's says something else."""
        info = found.info or {}
        records = info.get("records")
        numbers = [info.get(name) for name in ("epoch", "step", "best_epoch")]
        if (
            [type(number) for number in numbers] != [int] * 3
            or not 0 <= info["best_epoch"] <= info["epoch"]
            or not 0 <= info["step"] < self.steps
            or not isinstance(records, list)
            or len(records) != info["epoch"]
            or not all(map(_is_record, records))
        ):
            raise ValueError(
                f"folder: expected a checkpoint by Run.save, got one of step {found.step} with "
                "other facts"
            )
        return info

    def _tree(self) -> dict[str, Any]:
        return {"epoch": self._state, "best": self.best, "rng": self._rng_state}

    def _means(self, steps: int) -> tuple[float, float]:
        """Return the mean loss and the accuracy over an epoch's first steps."""
        # The last batch may have fewer images than the others.
        sizes = np.full(steps, self.batch_size)
        if steps == self.steps:
            sizes[-1] = self._images - (steps - 1) * self.batch_size
        loss = np.average(self.losses.astype(np.float64), weights=sizes)
        return float(loss), int(self._state.correct) / int(sizes.sum())

    def _end_epoch(self) -> None:
        loss, accuracy = self._means(self.steps)
        self._check_params()
        losses, scores = self._losses_and_scores(self.params, self._validation)
        if not np.isfinite(losses).all():
            self._diverged("the validation loss", self.steps - 1)
        right = scores.argmax(1) == np.asarray(self._validation.labels)
        self.records.append(
            {
                "epoch": self.epoch + 1,
                "updates": (self.epoch + 1) * self.steps,
                "loss": loss,
                "accuracy": accuracy,
                "validation_loss": float(losses.mean()),
                "validation_accuracy": float(right.mean()),
                "validation_standard_error": float(losses.std() / np.sqrt(len(losses))),
            }
        )
        if max(self.records, key=_merit) is self.records[-1]:  # of equals, the first
            self.best_epoch, self.best = self.epoch + 1, self.params
        self.epoch, self.step = self.epoch + 1, 0
        self._state = epochs.begin(self._state.train, self.steps, self._state.key)
        self._rng_state, self._order = self._rng.get_state(), None

    def _losses_and_scores(
        self, params: Params, data: epochs.DeviceData
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.floating[Any]]]:
        count = len(data.labels)
        order = epochs.batches(np.arange(count), min(_AT_A_TIME, count))
        losses, scores = self._evaluate(params, data, order)
        return np.asarray(losses, np.float64), np.asarray(scores)

    def _check_params(self) -> None:
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.params)):
            self._diverged("a parameter", max(self.step, 1) - 1)

    def _diverged(self, what: str, step: int) -> None:
        raise DivergenceError(
            f"{what} is no longer finite in epoch {self.epoch + 1}, step {step + 1} of "
            f"{self.steps}; try a smaller learning rate",
            epoch=self.epoch,
            step=step,
            state=self._state.train,
            history={"loss": self.losses},
        )


def _check_alike(train: Dataset, validation: Dataset) -> None:
    for name, expected, found in (
        ("images: expected shape", train.images.shape[1:], validation.images.shape[1:]),
        ("classes: expected", train.classes, validation.classes),
    ):
        if expected != found:
            raise ValueError(f"validation.{name} {expected} as train has, got {found}")


def _check_scores(net: Net, params: Params, train: Dataset) -> None:
    """Refuse a network of too few scores: the loss of a label beyond them is NaN."""
    images = jax.ShapeDtypeStruct((1, *train.images.shape[1:]), np.float32)
    found, expected = jax.eval_shape(net.apply, params, images).shape, (1, len(train.classes))
    if found != expected:
        raise ValueError(
            f"net: expected scores of shape {expected} for one image, one for each class, got "
            f"{found}"
        )


def _is_record(value: object) -> bool:
    return (
        isinstance(value, dict)
        and {*value} == _RECORDED
        and all(isinstance(number, int | float) for number in value.values())
    )


def _merit(record: Record) -> tuple[float, float]:
    return record["validation_accuracy"], -record["validation_loss"]


def _digest(*datasets: Dataset) -> str:
    """Return a checksum of images, labels and the classes' names."""
    sha = hashlib.sha256()
    for images, labels, classes in datasets:
        for part in (images, labels, np.array(classes)):
            sha.update(f"{part.dtype} {part.shape}".encode())
            sha.update(part.tobytes())
    return sha.hexdigest()
