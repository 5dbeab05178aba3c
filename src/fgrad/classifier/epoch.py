"""An epoch of training as one compiled program, run to its end or some steps at a time."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax import lax

from fgrad import functional as F
from fgrad.data import Dataset, checked, standardise, to_float
from fgrad.training import TrainState, make_step
from fgrad.types import ApplyFn, Array, ArrayLike, Batch, Metrics, Params

NONE = -100
"""The label of a row that fills up the last batch: `cross_entropy`'s default `ignore_index`."""


class DeviceData(NamedTuple):
    """A data set on the device, in bytes: a fourth of the memory, and as fast to read.

    Attributes:
        images: uint8 of shape (N, C, H, W).
        labels: int32 of shape (N,).
        mean: What is subtracted from each channel, of shape (C,).
        std: What each channel is divided by, of shape (C,).
    """

    images: Array
    labels: Array
    mean: Array
    std: Array


class EpochState(NamedTuple):
    """What an epoch carries from step to step.

    Attributes:
        train: Parameters and optimizer.
        losses: The loss of every step made, of shape (steps,); 0 from there on.
        correct: How many images were classified right so far, each before its step.
        key: A `jax.random.key`, from which each step takes its own for `augment`.
    """

    train: TrainState
    losses: Array
    correct: Array
    key: Array


Augment: TypeAlias = Callable[[Array, Array], Array]
"""`augment(key, images) -> images`, of bytes, at random."""

Advance: TypeAlias = Callable[[EpochState, DeviceData, ArrayLike, int, int], EpochState]
Evaluate: TypeAlias = Callable[[Params, DeviceData, ArrayLike], tuple[Array, Array]]


def place(dataset: Dataset, mean: ArrayLike, std: ArrayLike) -> DeviceData:
    """Put a data set on the device, once.

    Args:
        dataset: The data set.
        mean: What to subtract from each channel, as from `fgrad.data.channel_statistics`.
        std: What to divide each channel by.

    Returns:
        The images as they are, and what makes numbers of them, batch by batch.

    Raises:
        ValueError: As `fgrad.data.checked`.

    Example:
        >>> dataset = Dataset(np.zeros((3, 1, 2, 2), np.uint8), np.int32([0, 1, 0]), ("a", "b"))
        >>> place(dataset, np.float32([0.5]), np.float32([0.1])).images.shape
        (3, 1, 2, 2)
    """
    images, labels, _ = checked(dataset)
    return DeviceData(*map(jax.device_put, (images, labels, mean, std)))


def batches(order: npt.NDArray[np.integer], batch_size: int) -> npt.NDArray[np.int32]:
    """Cut an order into batches, the last one filled up with -1.

    Args:
        order: Indices of images, of shape (n,).
        batch_size: How many a batch has, 1 to n.

    Returns:
        int32 of shape (steps, batch_size).

    Raises:
        ValueError: If `batch_size` is out of range.

    Example:
        >>> print(batches(np.array([2, 0, 1]), 2))
        [[ 2  0]
         [ 1 -1]]

    Source: `torch.utils.data.DataLoader(drop_last=False)`.
    """
    if not 1 <= batch_size <= len(order):
        raise ValueError(
            f"batch_size: expected 1 to the number of images, {len(order)}, got {batch_size}"
        )
    steps = -(-len(order) // batch_size)
    filled = np.full(steps * batch_size, -1, np.int32)
    filled[: len(order)] = order
    return filled.reshape(steps, batch_size)


def begin(train: TrainState, steps: int, key: Array) -> EpochState:
    """Return the state before an epoch's first step.

    Args:
        train: Parameters and optimizer.
        steps: How many steps the epoch has.
        key: A `jax.random.key`, the same for all epochs.

    Returns:
        The state, with no losses yet.

    Example:
        >>> from fgrad.training import init_state
        >>> begin(init_state(jnp.float32(1.0), optax.sgd(0.1)), 3, jax.random.key(0)).losses.shape
        (3,)
    """
    dtype = jnp.result_type(*jax.tree.leaves(train.params))
    return EpochState(train, jnp.zeros(steps, dtype), jnp.int32(0), key)


def make_advance(
    apply: ApplyFn, optimizer: optax.GradientTransformation, *, augment: Augment | None = None
) -> Advance:
    r"""Make the compiled program that trains through an epoch with the cross entropy.

    Args:
        apply: `apply(params, x) -> scores` of shape (N, classes).
        optimizer: Any optax transformation.
        augment: What to do to the images of a step at random, say `fgrad.data.random_crop`.

    Returns:
        `advance(state, data, order, start, stop) -> state` makes the steps from `start` up to
        `stop` over the batches `order`, as from `batches`, of data as from `place`. All of these
        are arguments of one program: it compiles once for all epochs, and the numbers do not
        depend on where an epoch is cut.

    Example:
        >>> from fgrad.models import mlp
        >>> from fgrad.random import Generator
        >>> from fgrad.training import init_state
        >>> apply = lambda params, x: mlp.apply(params, F.flatten(x, 1))
        >>> train = init_state(mlp.init(Generator(0), [4, 2]), optax.sgd(0.1))
        >>> dataset = Dataset(np.zeros((3, 1, 2, 2), np.uint8), np.int32([0, 1, 0]), ("a", "b"))
        >>> placed = place(dataset, np.float32([0.5]), np.float32([0.1]))
        >>> advance = make_advance(apply, optax.sgd(0.1))
        >>> state = begin(train, 2, jax.random.key(0))
        >>> state = advance(state, placed, batches(np.arange(3), 2), 0, 2)
        >>> print(state.train.step, state.losses.shape)
        2 (2,)
    """

    def loss_fn(params: Params, batch: Batch) -> tuple[Array, Metrics]:
        x, labels = batch
        scores = apply(params, x)
        correct = jnp.sum(jnp.argmax(scores, 1) == labels, dtype=jnp.int32)
        return F.cross_entropy(scores, labels, ignore_index=NONE), {"correct": correct}

    step = make_step(loss_fn, optimizer, has_aux=True)

    @jax.jit
    def advance(
        state: EpochState, data: DeviceData, order: ArrayLike, start: int, stop: int
    ) -> EpochState:
        def batch(i: int | Array, number: Array) -> Batch:
            images, labels = _batch(data, jnp.asarray(order)[i])
            if augment:
                images = augment(jax.random.fold_in(state.key, number), images)
            return images, labels

        # A batch is picked, as bytes, while the one before is trained on: XLA runs the two side by
        # side. The one after the last, of no matter what, is not used.
        def body(i: Array, carried: tuple[EpochState, Batch]) -> tuple[EpochState, Batch]:
            state, (images, labels) = carried
            following = batch(i + 1, state.train.step + 1)
            train, metrics = step(state.train, (_numbers(data, images), labels))
            losses = state.losses.at[i].set(metrics["loss"])
            correct = state.correct + metrics["correct"]
            return EpochState(train, losses, correct, state.key), following

        carried = (state, batch(start, state.train.step))
        return lax.fori_loop(start, stop, body, carried)[0]

    return advance


def make_evaluate(apply: ApplyFn) -> Evaluate:
    """Make the compiled program that applies a network to a whole data set.

    Args:
        apply: `apply(params, x) -> scores` of shape (N, classes).

    Returns:
        `evaluate(params, data, order) -> (losses, scores)`: the cross entropy of each image, of
        shape (N,), and its scores, of shape (N, classes), in the images' order. `order` is
        `batches(np.arange(N), batch_size)`: so many are computed at a time.

    Example:
        >>> dataset = Dataset(np.zeros((3, 1, 1, 2), np.uint8), np.int32([0, 1, 0]), ("a", "b"))
        >>> placed = place(dataset, np.float32([0.0]), np.float32([1.0]))
        >>> evaluate = make_evaluate(lambda bias, x: F.flatten(x, 1) + bias)
        >>> print(evaluate(np.zeros((1, 2), np.float32), placed, batches(np.arange(3), 2))[0])
        [0.6931472 0.6931472 0.6931472]
    """

    @jax.jit
    def evaluate(params: Params, data: DeviceData, order: ArrayLike) -> tuple[Array, Array]:
        def scores_of(indices: Array) -> Array:
            return apply(params, _numbers(data, _batch(data, indices)[0]))

        scores = lax.map(scores_of, jnp.asarray(order))
        scores = scores.reshape(-1, scores.shape[-1])[: len(data.labels)]
        return F.cross_entropy(scores, data.labels, reduction="none"), scores

    return evaluate


def _batch(data: DeviceData, indices: Array) -> tuple[Array, Array]:
    """Return images and their labels; an index of -1 has the label `NONE`."""
    # Filled rows show the first image: its scores go nowhere.
    rows = jnp.maximum(indices, 0)
    return data.images[rows], jnp.where(indices < 0, NONE, data.labels[rows])


def _numbers(data: DeviceData, images: Array) -> Array:
    return standardise(to_float(images), data.mean, data.std)
