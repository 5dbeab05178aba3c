"""The classifier's parts against NumPy, scikit-learn, and each other."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics
from PIL import Image

import fgrad
from fgrad import checkpoint, classifier, data, interop, plots
from fgrad import functional as F
from fgrad.classifier import Run, folder
from fgrad.random import Generator
from fgrad.types import Array, ArrayLike, Params

CLASSES = ("a", "b", "c")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 1, 2, 3), np.uint8)
LABELS = RNG.integers(0, 3, 23).astype(np.int32)
DATASET = data.Dataset(IMAGES, LABELS, CLASSES)
MEAN, STD = np.float32([0.5]), np.float32([0.25])
traced = 0


def linear(params: Params, x: ArrayLike) -> Array:
    """Return scores, counting how often that is traced."""
    global traced
    traced += 1
    return F.linear(F.flatten(x, 1), **params)


NET = classifier.Net(lambda rng: fgrad.init.linear(rng, 6, 3), linear)


def descend(
    params: dict[str, Any],
    batches: list[npt.NDArray[np.int64]],
    lr: float,
    momentum: float,
    mean: float = 0.5,
    std: float = 0.25,
) -> tuple[list[float], dict[str, Any], int]:
    """Return losses, final parameters and right guesses of softmax regression, in NumPy."""
    weight, bias = (np.asarray(params[name], np.float64) for name in ("weight", "bias"))
    velocity = [np.zeros_like(weight), np.zeros_like(bias)]
    losses, right = [], 0
    for batch in batches:
        x = (IMAGES[batch].reshape(len(batch), -1) / 255 - mean) / std
        scores = x @ weight.T + bias
        probs = np.exp(scores - scores.max(1, keepdims=True))
        probs /= probs.sum(1, keepdims=True)
        chosen = probs[np.arange(len(batch)), LABELS[batch]]
        losses.append(-np.log(chosen).mean())
        right += int((scores.argmax(1) == LABELS[batch]).sum())
        delta = (probs - np.eye(3)[LABELS[batch]]) / len(batch)
        for i, gradient in enumerate((delta.T @ x, delta.sum(0))):
            velocity[i] = momentum * velocity[i] + gradient
        weight, bias = weight - lr * velocity[0], bias - lr * velocity[1]
    return losses, {"weight": weight, "bias": bias}, right


def test_an_epoch_is_momentum_sgd_wherever_it_is_cut() -> None:
    """23 images in batches of 5: the last batch has three, and the mean is over those."""
    global traced
    params = NET.init(Generator(1))
    order = data.epoch_order(Generator(2), 23)
    optimizer = fgrad.optim.sgd(0.1, momentum=0.9)
    advance = classifier.make_advance(NET.apply, optimizer)
    placed = classifier.place(DATASET, MEAN, STD)
    batches = classifier.batches(order, 5)
    assert batches.shape == (5, 5)
    traced = 0
    finals = []
    for cuts in ([5], [1, 5], [2, 3, 5]):
        state = classifier.begin(fgrad.init_state(params, optimizer), 5, jax.random.key(0))
        start = 0
        for stop in cuts:
            state = advance(state, placed, batches, start, stop)
            start = stop
        finals.append(state)
    assert traced == 1  # one program, whatever the bounds
    assert all(
        (np.asarray(a) == np.asarray(b)).all()
        for other in finals[1:]
        for a, b in zip(
            jax.tree.leaves(finals[0]._replace(key=0)),
            jax.tree.leaves(other._replace(key=0)),
            strict=True,
        )
    )
    cut = [order[i : i + 5] for i in range(0, 23, 5)]
    losses, expected, right = descend(params, cut, 0.1, 0.9)
    np.testing.assert_allclose(finals[0].losses, losses, rtol=1e-5)
    np.testing.assert_allclose(finals[0].train.params["weight"], expected["weight"], rtol=1e-4)
    np.testing.assert_allclose(finals[0].train.params["bias"], expected["bias"], rtol=1e-4)
    assert int(finals[0].correct) == right
    assert int(finals[0].train.step) == 5


def test_evaluation_covers_every_image_once() -> None:
    params = NET.init(Generator(1))
    evaluate = classifier.make_evaluate(NET.apply)
    placed = classifier.place(DATASET, MEAN, STD)
    losses, scores = evaluate(params, placed, classifier.batches(np.arange(23), 4))
    each = [descend(params, [np.array([i])], 0, 0)[0][0] for i in range(23)]
    np.testing.assert_allclose(losses, each, rtol=1e-5)
    assert scores.shape == (23, 3)


def test_augmentation_changes_from_step_to_step_and_comes_again() -> None:
    def augment(key: Array, images: Array) -> Array:
        return data.random_crop(key, images, (2, 3), padding=1)

    optimizer = fgrad.optim.sgd(0.0)
    order = np.zeros((4, 1), np.int32)  # the same image in each of four steps
    placed = classifier.place(DATASET, MEAN, STD)
    losses = []
    for key in (0, 0, 1):
        state = fgrad.init_state(NET.init(Generator(1)), optimizer)
        advance = classifier.make_advance(NET.apply, optimizer, augment=augment)
        begun = classifier.begin(state, 4, jax.random.key(key))
        losses.append(np.asarray(advance(begun, placed, order, 0, 4).losses))
    assert len(set(losses[0].tolist())) > 1
    assert (losses[0] == losses[1]).all()
    assert (losses[0] != losses[2]).any()
    # The key of a step is the run's, and the step's number.
    for i, loss in enumerate(losses[0]):
        image = augment(jax.random.fold_in(jax.random.key(0), i), DATASET.images[:1])
        x = data.standardise(data.to_float(np.asarray(image)), MEAN, STD)
        scores = np.asarray(NET.apply(NET.init(Generator(1)), jnp.asarray(x)))[0]
        expected = np.log(np.exp(scores).sum()) - scores[DATASET.labels[0]]
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def new_run(lr: float = 0.1, *, seed: int = 0, batch_size: int = 5, **settings: Any) -> Run:
    """Return a run on the 23 images."""
    return Run(
        NET,
        fgrad.optim.sgd(lr, momentum=0.9),
        DATASET,
        DATASET,
        batch_size=batch_size,
        rng=Generator(seed),
        settings=settings,
    )


def test_records_and_the_best_epoch() -> None:
    run = new_run()
    params = [run.params]
    while run.epoch < 6:
        run.advance(2)
        if not run.step:
            params.append(run.params)
    assert [record["epoch"] for record in run.records] == [1, 2, 3, 4, 5, 6]
    assert [record["updates"] for record in run.records] == [5, 10, 15, 20, 25, 30]
    merits = [(r["validation_accuracy"], -r["validation_loss"]) for r in run.records]
    assert run.best_epoch == merits.index(max(merits)) + 1
    for name in ("weight", "bias"):
        assert (np.asarray(run.best[name]) == np.asarray(params[run.best_epoch][name])).all()
    loss, probabilities = run.predict(DATASET, params[6])
    assert loss == run.records[5]["validation_loss"]
    assert (probabilities.argmax(1) == LABELS).mean() == run.records[5]["validation_accuracy"]
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_the_mean_loss_of_an_epoch_is_over_its_images() -> None:
    rng = Generator(3)
    params = NET.init(rng)
    order = data.epoch_order(rng, 23)
    cut = [order[i : i + 5] for i in range(0, 23, 5)]
    run = new_run(seed=3)
    losses, _, right = descend(params, cut, 0.1, 0.9, IMAGES.mean() / 255, IMAGES.std() / 255)
    run.advance(5)
    record = run.records[0]
    weights = [len(batch) for batch in cut]
    np.testing.assert_allclose(record["loss"], np.average(losses, weights=weights), rtol=1e-5)
    assert record["accuracy"] == right / 23


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    whole, cut = new_run(), new_run()
    while whole.epoch < 4:
        whole.advance(5)
    for count in (5, 5, 2):  # into the third epoch
        cut.advance(count)
    cut.save(tmp_path)
    position = (cut.epoch, cut.step)
    resumed = new_run(seed=0)
    assert resumed.restore(tmp_path) == []
    assert (resumed.epoch, resumed.step) == position == (2, 2)
    assert (resumed.losses == cut.losses).all()
    while resumed.epoch < 4:
        resumed.advance(1)
    assert resumed.records == whole.records
    assert resumed.best_epoch == whole.best_epoch
    for name in ("weight", "bias"):
        assert (np.asarray(resumed.params[name]) == np.asarray(whole.params[name])).all()
        assert (np.asarray(resumed.best[name]) == np.asarray(whole.best[name])).all()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    new_run(lr=0.1, rate=0.1).save(tmp_path)
    for other, message in (
        (new_run(rate=0.2), "settings: expected rate 0.1 as in the checkpoint, got 0.2"),
        (new_run(rate=0.1, batch_size=6), "settings: expected batch_size 5 "),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            other.restore(tmp_path)
    other = Run(
        NET,
        fgrad.optim.sgd(0.1, momentum=0.9),
        DATASET._replace(labels=LABELS[::-1].copy()),
        DATASET,
        batch_size=5,
        rng=Generator(0),
        settings={"rate": 0.1},
    )
    with pytest.raises(ValueError, match=r'^settings: expected images "'):
        other.restore(tmp_path)


def test_divergence_says_where_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = new_run(lr=1e38)
    with pytest.raises(
        fgrad.DivergenceError, match=r"no longer finite in epoch \d+, step "
    ) as error:
        classifier.fit(run, epochs=50, folder=tmp_path, save_every=0)
    raised = error.value
    assert str(tmp_path) in str(raised)
    assert (raised.epoch, raised.step) == (run.epoch, raised.step)
    assert f"epoch {run.epoch + 1}, step {raised.step + 1} of 5" in str(raised)
    assert not np.isfinite(raised.history["loss"][raised.step])
    assert np.isfinite(raised.history["loss"][: raised.step]).all()
    again = new_run(lr=1e38)
    assert again.restore(tmp_path) == []
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(again.params))


def test_a_run_that_is_to_stop_is_saved_where_it_is(tmp_path: Path) -> None:
    run = new_run()
    calls: list[classifier.Pace] = []
    finished = classifier.fit(
        run,
        epochs=100,
        folder=tmp_path,
        on_progress=calls.append,
        should_stop=lambda: len(calls) == 3,
    )
    assert not finished
    resumed = new_run()
    resumed.restore(tmp_path)
    assert (resumed.epoch, resumed.step) == (run.epoch, run.step)
    assert len(calls) == 3


def test_figures_of_merit_are_scikit_learns() -> None:
    true, predicted = RNG.integers(0, 5, (2, 200))
    true[true == 3] = 2  # a class that never comes
    predicted[predicted == 4] = 1  # and one that is never predicted
    matrix = classifier.confusion(true, predicted, 5)
    metrics = sklearn.metrics
    labels = range(5)
    assert (matrix == metrics.confusion_matrix(true, predicted, labels=labels)).all()
    assert classifier.accuracy(matrix) == metrics.accuracy_score(true, predicted)
    options = {"labels": labels, "average": None, "zero_division": np.nan}
    expected = metrics.precision_score(true, predicted, **options)
    np.testing.assert_array_equal(classifier.precision(matrix), expected)
    expected = metrics.recall_score(true, predicted, **options)
    np.testing.assert_array_equal(classifier.recall(matrix), expected)


FALLING = [0.5 * 0.96**epoch for epoch in range(8)]


@pytest.mark.parametrize(
    ("training", "validation", "error", "name", "words"),
    [
        ([2.3, 2.29, 2.28], [2.3, 2.3, 2.3], 0.1, "underfitting", "hardly below 2.3"),
        ([1.0, 0.8, 0.6], [1.0, 0.8, 0.65], 0.01, "underfitting", "both losses were still"),
        (
            [1.0, 0.5, 0.3],
            [0.9, 0.6, 0.8],
            0.05,
            "overfitting",
            "since epoch 2 the validation loss",
        ),
        ([1.0, 0.5, 0.3], [0.9, 0.6, 0.8], 0.3, "good fit", "(lowest 0.6, in epoch 2)"),
        ([1, 0.1, 0.01, 0.01], [1, 0.2, 0.2, 0.2], 0.01, "overfitting", "20 times the training"),
        ([1.0, 0.5, 0.3, 0.29], [0.9, 0.5, 0.32, 0.31], 0.02, "good fit", "ended at 0.31"),
        ([1.0, 0.8, 0.6], [1.0, 0.8, 0.65], 0.2, "good fit", "ended at 0.65"),
        # One epoch that jumps says nothing when there are many.
        ([1, 0.5, 0.4, 0.3, 0.3, 0.3], [1, 0.4, 0.3, 0.3, 0.3, 0.6], 0.01, "overfitting", "rose"),
        ([1, 0.5, 0.4, 0.3, 0.3, 0.3], [1, 0.4, 0.3, 0.6, 0.3, 0.3], 0.01, "good fit", "0.3"),
        # The last fifth of eight epochs is one of them, and 4% are no fall.
        (FALLING, FALLING, 0.001, "good fit", "ended at"),
        ([1.0], [1.0], 0.1, "undecided", "1 epoch"),
    ],
    ids=[
        "chance",
        "falling",
        "rising",
        "within-error",
        "gap",
        "flat",
        "by-chance",
        "end",
        "jump",
        "slowly",
        "one",
    ],
)
def test_verdicts(
    training: list[float], validation: list[float], error: float, name: str, words: str
) -> None:
    verdict = classifier.judge(training, validation, classes=10, standard_error=error)
    assert verdict.name == name
    assert words in verdict.reason


def pasted(image: npt.NDArray[np.uint8]) -> Image.Image:
    """Return an image as a large picture, somewhere on a dark sheet."""
    sheet = Image.new("L", (500, 390), 0)
    sheet.paste(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR), (30, 90))
    return sheet


@pytest.mark.parametrize(
    "draw",
    [
        lambda sheet: sheet,
        lambda sheet: sheet.point(lambda value: 255 - value),
        lambda sheet: sheet.point(lambda value: 200 - value // 2),
        lambda sheet: Image.merge("RGB", [sheet.point(lambda value: 240 - value // 2)] * 3),
        lambda sheet: sheet.resize((120, 90)),
    ],
    ids=["light-on-dark", "dark-on-light", "faint", "colour", "small"],
)
def test_a_picture_becomes_an_image_of_the_data_set(
    draw: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    test = data.digits().test
    extent = classifier.light_on_dark(test.images)
    assert extent is not None
    likeness = []
    for image in test.images[:20, 0]:
        draw(pasted(image)).save(tmp_path / "digit.png")
        found = classifier.prepare(tmp_path / "digit.png", size=32, channels=1, extent=extent).image
        assert found.shape == (1, 32, 32)
        likeness.append(np.corrcoef(found.ravel(), image.ravel())[0, 1])
    # The digits fill their frame, so that one comes back nearly as it was.
    assert np.mean(likeness) > 0.9
    assert min(likeness) > 0.75


def test_pictures_of_one_colour_and_data_sets_in_colour(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    with pytest.raises(ValueError, match=r"red.png: expected something to see, got a picture of "):
        classifier.prepare(tmp_path / "red.png", size=32, channels=1, extent=0.9)
    assert classifier.light_on_dark(np.zeros((2, 3, 4, 4), np.uint8)) is None
    assert classifier.light_on_dark(np.full((2, 1, 4, 4), 9, np.uint8)) is None
    image = classifier.prepare(tmp_path / "red.png", size=8, channels=3).image
    assert (image == np.array([255, 0, 0]).reshape(3, 1, 1)).all()


def test_networks_take_other_channels_and_classes() -> None:
    for name in classifier.NAMES:
        init, apply = classifier.net(name, channels=3, classes=7)
        shapes = jax.eval_shape(lambda init=init: init(Generator(0)))
        images = jax.ShapeDtypeStruct((2, 3, 32, 32), jnp.float32)
        assert jax.eval_shape(apply, shapes, images).shape == (2, 7)
    with pytest.raises(ValueError, match=r"^name: expected one of lenet, convnet, mlp, got 'vgg'"):
        classifier.net("vgg")


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"^batch_size: expected 1 to the number of images, 23,"):
        new_run(batch_size=24)
    with pytest.raises(ValueError, match=r"^predictions: expected 0 to 1, got \[2\]"):
        classifier.confusion(np.array([0]), np.array([2]), 2)
    with pytest.raises(ValueError, match=r"^predictions: expected shape \(N,\) as labels has"):
        classifier.confusion(np.array([0]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match=r"^validation: expected 1 losses as in training, got 2"):
        classifier.judge([1.0], [1.0, 2.0], classes=2)
    with pytest.raises(ValueError, match=r"^name: expected one of digits, mnist,"):
        classifier.load_dataset("emnist")
    with pytest.raises(ValueError, match=r"^folder: expected the folder it is in for mnist, got N"):
        classifier.load_dataset("mnist")


def test_losses_of_exactly_zero_are_judged() -> None:
    assert classifier.judge([0.5, 0.0], [0.6, 0.5], classes=10).name == "overfitting"
    assert classifier.judge([0.0, 0.0], [0.1, 0.0], classes=10).name == "good fit"
    assert classifier.judge([0.0, 0.0], [0.0, 0.0], classes=10).name == "good fit"


def test_thin_lines_of_a_large_picture_are_seen(tmp_path: Path) -> None:
    pixels = np.full((1000, 1000), 255, np.uint8)
    pixels[200:800, 300:303] = pixels[200:800, 700:703] = pixels[500:503, 300:700] = 0
    Image.fromarray(pixels).save(tmp_path / "thin.png")
    (image,) = classifier.prepare(tmp_path / "thin.png", size=32, channels=1, extent=0.6).image
    assert image.max() == 255
    assert (image > 50).any(0).sum() > 10  # the bar of the H


def test_a_folder_is_made_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with folder.claim(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    with (
        folder.claim(tmp_path),
        pytest.raises(ValueError, match=r"^folder: expected no other run in .*, got one$"),
        folder.claim(tmp_path),
    ):
        pass
    with folder.claim(tmp_path):
        pass


def started(**changes: Any) -> Run:
    """Start a run on other images or labels."""
    train = DATASET._replace(**changes)
    return Run(NET, fgrad.optim.sgd(0.1), train, DATASET, batch_size=5, rng=Generator(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, list])
def test_labels_of_every_integer_dtype_are_taken(dtype: Any) -> None:
    """A label of the filler's, -100, was 156 where labels were bytes."""
    labels = LABELS.tolist() if dtype is list else LABELS.astype(dtype)
    runs = [started(), started(labels=labels)]
    for run in runs:
        run.advance(5)
    assert runs[0].records == runs[1].records
    loss, _ = runs[1].predict(DATASET._replace(labels=labels), runs[1].best)
    assert loss == runs[0].predict(DATASET, runs[0].best)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": LABELS + 1},
            r"train.labels: expected 0 to 2, an index into the 3 classes, got 3 at index "
            + str(int(LABELS.argmax())),
        ),
        (
            {"labels": LABELS - 1},
            r"train.labels: expected 0 to 2, an index .*, got -1 at index "
            + str(int(LABELS.argmin())),
        ),
        (
            {"labels": np.where(np.arange(23) < 11, LABELS, -100)},
            "train.labels: expected 0 to 2, an index .*, got -100 at index 11",
        ),
        ({"labels": np.uint8(LABELS) - np.uint8(200)}, "train.labels: expected 0 to 2, .* got 5"),
        (
            {"images": IMAGES[:12]},
            r"train.labels: expected integers of shape \(12,\), .*, got int32 of shape \(23,\)",
        ),
        ({"labels": LABELS[:, None]}, r"train.labels: .* shape \(23,\), .*, got int32 of .*23, 1"),
        ({"labels": LABELS.astype(float)}, r"train.labels: expected integers .* got float64"),
        ({"labels": list("ab") * 11 + ["a"]}, r"train.labels: expected integers .* got <U1"),
        ({"images": IMAGES / 255}, r"train.images: expected uint8 .*, got float64 of shape"),
        ({"images": IMAGES[:, 0]}, r"train.images: .* shape \(N, C, H, W\), got .*\(23, 2, 3\)"),
        ({"images": IMAGES[:0], "labels": []}, r"train.images: expected uint8 of shape .*\(0, 1"),
        ({"classes": ("a", "b", "x")}, r"validation.classes: expected \('a', 'b', 'x'\) as train"),
        ({"images": IMAGES[..., :2]}, r"validation.images: expected shape \(1, 2, 2\) as train"),
    ],
    ids=[
        "from-1",
        "from-minus-1",
        "ignored",
        "wrapped",
        "fewer-images",
        "column",
        "float",
        "words",
        "float-images",
        "no-channels",
        "none",
        "other-classes",
        "other-size",
    ],
)
def test_images_and_labels_that_do_not_go_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        started(**changes)


def test_a_data_set_to_predict_is_held_to_the_runs_own_classes() -> None:
    run = started()
    with pytest.raises(
        ValueError, match=r"^dataset.labels: expected 0 to 2, .* got 3 at index 22$"
    ):
        run.predict(data.Dataset(IMAGES, np.r_[LABELS[:22], 3], tuple("abcd")), run.best)


def test_a_network_of_too_few_scores_is_refused() -> None:
    net = classifier.Net(lambda rng: fgrad.init.linear(rng, 6, 2), linear)
    with pytest.raises(
        ValueError, match=r"^net: expected scores of shape \(1, 3\) .* got \(1, 2\)$"
    ):
        Run(net, fgrad.optim.sgd(0.1), DATASET, DATASET, batch_size=5, rng=Generator(0))


@pytest.mark.parametrize(
    "changes",
    [{"epoch": None}, {"epoch": 2}, {"step": 99}, {"records": [{}]}, {"best_epoch": 1}],
    ids=["type", "records", "step", "record", "best"],
)
def test_a_checkpoint_with_other_facts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = started()
    run.save(tmp_path)
    found = checkpoint.restore(tmp_path, run._tree())
    info = (found.info or {}) | changes
    monkeypatch.setattr(checkpoint, "restore", lambda *_, **__: found._replace(info=info))
    with pytest.raises(ValueError, match=r"^folder: expected a checkpoint by Run.save, got one of"):
        run.restore(tmp_path)


def test_a_finished_run_is_not_saved_again(tmp_path: Path) -> None:
    run = started()
    assert classifier.fit(run, epochs=1, folder=tmp_path / "first")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = started()
    assert again.restore(tmp_path / "first") == []
    assert classifier.fit(again, epochs=1, folder=tmp_path / "first")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    assert classifier.fit(again, epochs=1, folder=tmp_path / "elsewhere")
    assert checkpoint.exists(tmp_path / "elsewhere")


WHOLE = {
    "net": "mlp",
    "channels": 1,
    "classes": ["a", "b"],
    "mean": [0.5],
    "std": [0.25],
    "extent": None,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net": ["mlp"]}, "net among lenet, convnet, mlp"),
        ({"channels": "1"}, "channels 1 or 3; mean, a number for each channel; std, a number"),
        ({"classes": "ab"}, "classes, a list of names"),
        ({"classes": [1, 2]}, "classes, a list of names"),
        ({"mean": 0.5}, "mean, a number for each channel"),
        ({"mean": [float("nan")]}, "mean, a number for each channel"),
        ({"std": [0]}, "std, a number above 0 for each channel"),
        ({"std": ["x"]}, "std, a number above 0 for each channel"),
        ({"extent": "x"}, "extent, a number from 0 to 1, or null"),
    ],
)
def test_a_description_of_wrong_types_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    params = classifier.net("mlp", classes=2).init(Generator(0))
    interop.save_safetensors(tmp_path / "model.safetensors", params)
    folder.describe(tmp_path, WHOLE)
    assert folder.load(tmp_path).description == WHOLE
    folder.describe(tmp_path, WHOLE | changes)
    start = rf"^{tmp_path}/run.json: expected a run's description, with "
    with pytest.raises(ValueError, match=start + message):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["[1]", "{", "[" * 100_000, "\udcff"], ids=["list", "cut", "deep", "bytes"]
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"run.json: expected a run's description, got ") as error:
        folder.described(tmp_path)
    assert "\n" not in str(error.value)


def test_a_fifo_in_place_of_a_description_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(OSError, match="expected a regular file"):
        folder.described(tmp_path)


def test_names_are_drawn_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mathematics is not looked for; a letter of no font is written as a number."""
    classes = [r"$\foo$", "$x$", chr(0x0378)]
    matrix = np.eye(3, dtype=np.int64)
    figure = plots.confusion(matrix, classes)
    assert plots.encode(figure, ".png")
    drawn = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert drawn == [r"$\foo$", "$x$", r"\u0378"]
    images, probabilities = np.zeros((3, 1, 4, 4), np.uint8), np.eye(3)[[1, 1, 2]]
    figure = plots.examples(images, np.arange(3), probabilities, classes)
    assert plots.encode(figure, ".png")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["$x$: 100%", r"\u0378: 100%", "$x$: 100%\ntrue $\\foo$: 0%"]


def test_another_font_is_taken_for_letters_that_the_usual_one_lacks() -> None:
    letter = chr(0x1D538)  # a letter of mathematics, in the fonts that matplotlib brings
    if plots.legible([letter]) == [letter]:
        assert plots.encode(plots.confusion(np.eye(2, dtype=np.int64), [letter, "b"]), ".png")


def test_data_sets_own_images_come_back_as_they_were(tmp_path: Path) -> None:
    for image in data.digits().test.images[:5, 0]:
        Image.fromarray(image).save(tmp_path / "digit.png")
        found = classifier.prepare(tmp_path / "digit.png", size=32, channels=1, extent=1.0)
        assert np.corrcoef(found.image.ravel(), image.ravel())[0, 1] > 0.7
        assert found.doubts == ()
