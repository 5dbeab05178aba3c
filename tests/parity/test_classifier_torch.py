"""The classifier beside an installed PyTorch's: the same losses, and weights that move over."""

import itertools
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

import fgrad
from fgrad import classifier, data, interop
from fgrad.random import Generator

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
PROGRAM = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "pytorch_classifier.py"))


def test_training_follows_pytorchs_losses_and_the_net_loads_there(tmp_path: Path) -> None:
    """Two epochs of digits: shuffled anew, the last batch of each smaller."""
    train, test = data.digits()
    mean, std = data.channel_statistics(train.images)
    images, held_out = (
        torch.from_numpy(data.standardise(data.to_float(part.images), mean, std))
        for part in (train, test)
    )
    labels = torch.from_numpy(train.labels).long()
    options = {"seed": 3, "batch_size": 100, "lr": 0.02, "momentum": 0.9}
    run = PROGRAM["train"](images, labels, **options)
    expected = [loss for _, loss in itertools.islice(run, 30)]

    rng = Generator(3)
    net = classifier.net("lenet")
    optimizer = fgrad.optim.sgd(0.02, momentum=0.9)
    advance = classifier.make_advance(net.apply, optimizer)
    placed = classifier.place(train, mean, std)
    state = fgrad.init_state(net.init(rng), optimizer)
    losses: list[float] = []
    for _ in range(2):
        order = classifier.batches(data.epoch_order(rng, len(train.labels)), 100)
        assert order.shape == (15, 100)
        assert (order[-1] < 0).sum() == 58
        epoch = classifier.begin(state, 15, jax.random.key(0))
        epoch = advance(epoch, placed, order, 0, 15)
        state = epoch.train
        losses += epoch.losses.tolist()
    np.testing.assert_allclose(losses, expected, rtol=1e-4)

    interop.save_safetensors(tmp_path / "model.safetensors", state.params)
    theirs = PROGRAM["Net"]()
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "model.safetensors"))
    order = classifier.batches(np.arange(len(test.labels)), 100)
    evaluate = classifier.make_evaluate(net.apply)
    _, scores = evaluate(state.params, classifier.place(test, mean, std), order)
    with torch.no_grad():
        torch.testing.assert_close(theirs(held_out), torch.from_numpy(np.array(scores)))
