"""The classifier beside an installed PyTorch's: the same losses, and weights that move over."""

import itertools
import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import fgrad
from fgrad import classifier, data, interop
from fgrad.random import Generator
from fgrad.types import Params

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
PROGRAM = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "pytorch_classifier.py"))


MOMENTUM = 0.9
APPLY = classifier.net("lenet").apply


def images_and_labels(dataset: data.Dataset, statistics: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return a data set as PyTorch is to have it."""
    images = data.standardise(data.to_float(dataset.images), *statistics)
    return torch.from_numpy(images), torch.from_numpy(dataset.labels).long()


def train_here(
    train: data.Dataset, steps: int, *, seed: int, batch_size: int, lr: float
) -> tuple[list[float], Params]:
    """Return the loss of every step, and the parameters after them."""
    rng = Generator(seed)
    optimizer = fgrad.optim.sgd(lr, MOMENTUM)
    advance = classifier.make_advance(APPLY, optimizer)
    placed = classifier.place(train, *data.channel_statistics(train.images))
    state = fgrad.init_state(classifier.net("lenet").init(rng), optimizer)
    losses: list[float] = []
    while len(losses) < steps:
        order = classifier.batches(data.epoch_order(rng, len(train.labels)), batch_size)
        count = min(len(order), steps - len(losses))
        epoch = classifier.begin(state, len(order), jax.random.key(0))
        epoch = advance(epoch, placed, order, 0, count)
        state = epoch.train
        losses += epoch.losses[:count].tolist()
    return losses, state.params


@pytest.mark.parametrize("batch_size", [4, 64])
def test_200_steps_at_the_lessons_rate_follow_pytorchs_losses(batch_size: int) -> None:
    """As PyTorch's "Training a classifier" trains; benchmarks/classifier_parity.py on more data."""
    train, _ = data.digits()
    there = images_and_labels(train, data.channel_statistics(train.images))
    options = {"seed": 0, "batch_size": batch_size, "lr": 0.001}
    run = PROGRAM["train"](*there, **options, momentum=MOMENTUM)
    expected = [loss for _, loss in itertools.islice(run, 200)]
    losses, _ = train_here(train, 200, **options)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_training_follows_pytorchs_losses_and_the_net_loads_there(tmp_path: Path) -> None:
    """Two epochs of digits: shuffled anew, the last batch of each smaller."""
    train, test = data.digits()
    assert 1400 < len(train.labels) < 1500  # in each epoch 14 batches of 100, and a smaller one
    statistics = data.channel_statistics(train.images)
    options = {"seed": 3, "batch_size": 100, "lr": 0.02}
    run = PROGRAM["train"](*images_and_labels(train, statistics), **options, momentum=MOMENTUM)
    expected = [loss for _, loss in itertools.islice(run, 30)]
    losses, params = train_here(train, 30, **options)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)

    held_out, _ = images_and_labels(test, statistics)
    interop.save_safetensors(tmp_path / "model.safetensors", params)
    theirs = PROGRAM["Net"]()
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "model.safetensors"))
    order = classifier.batches(np.arange(len(test.labels)), 100)
    evaluate = classifier.make_evaluate(APPLY)
    _, scores = evaluate(params, classifier.place(test, *statistics), order)
    with torch.no_grad():
        torch.testing.assert_close(theirs(held_out), torch.from_numpy(np.array(scores)))
