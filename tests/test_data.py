"""The data sets that come along, their order, and what is done to pixels."""

import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from fgrad import data
from fgrad.data.transforms import Padding
from fgrad.random import Generator

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 3, 10, 12), "u1")


def test_import_loads_no_library_of_the_extra() -> None:
    code = (
        "import sys, fgrad.data; "
        "print([m for m in ('sklearn', 'PIL', 'pooch', 'requests', 'scipy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_digits_are_all_there_and_held_out_by_class() -> None:
    train, test = data.digits()
    bundled = load_digits()
    assert train.classes == test.classes == tuple("0123456789")
    held_out = np.bincount(test.labels)
    np.testing.assert_array_equal(held_out, np.bincount(bundled.target) // 5)
    np.testing.assert_array_equal(np.bincount(train.labels) + held_out, np.bincount(bundled.target))
    # Each fifth of its class, in the file's order.
    for label in range(10):
        ours = [part.images[part.labels == label].mean((1, 2, 3)) for part in (train, test)]
        whole = bundled.images[bundled.target == label].mean((1, 2)) * (255 / 16)
        np.testing.assert_allclose(ours[1], whole[4::5], atol=1.0)
        np.testing.assert_allclose(ours[0], np.delete(whole, np.s_[4::5]), atol=1.0)


def test_digits_are_enlarged_as_pillow_does() -> None:
    test = data.digits().test
    bundled = load_digits()
    first = np.rint(bundled.images[bundled.target == 0][4] * (255 / 16)).astype("u1")
    large = Image.fromarray(first).resize((32, 32), Image.Resampling.BILINEAR)
    ours = test.images[test.labels == 0][0, 0]
    np.testing.assert_allclose(ours, np.asarray(large, "i4"), atol=1)
    assert (ours.dtype, test.labels.dtype) == (np.uint8, np.int32)


# What PyTorch 2.13.0 gives: two epochs of DataLoader(range(7), batch_size=3, shuffle=True).
ORDERS = {
    0: [[0, 4, 1, 5, 2, 6, 3], [3, 1, 4, 2, 5, 0, 6]],
    2**40 + 5: [[0, 3, 6, 2, 1, 4, 5], [1, 2, 5, 3, 6, 4, 0]],
}


@pytest.mark.parametrize("seed", ORDERS)
def test_the_order_is_pytorch_s(seed: int) -> None:
    rng = Generator(seed)
    for epoch in ORDERS[seed]:
        assert data.epoch_order(rng, 7).tolist() == epoch


def test_the_split_is_pytorch_s() -> None:
    """PyTorch 2.13.0's random_split(range(10), [7, 3], [0.75, 0.25] or [0.72, 0.28]), seed 42."""
    ten = data.Dataset(IMAGES[:10], np.arange(10, dtype=np.int32), tuple("abcdefghij"))
    for held_out, count in ((3, 3), (0.25, 2), (0.28, 2)):
        train, validation = data.split(ten, held_out, Generator(42))
        order = [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]
        assert train.labels.tolist() == order[: 10 - count]
        assert validation.labels.tolist() == order[10 - count :]
        np.testing.assert_array_equal(train.images, IMAGES[order[: 10 - count]])
        assert validation.classes == ten.classes


@pytest.mark.parametrize("held_out", [0, 10, -1, 2.5, 1.0, 0.0, 0.01, float("nan")])
def test_a_refused_split(held_out: float) -> None:
    ten = data.Dataset(IMAGES[:10], np.arange(10, dtype=np.int32), tuple("abcdefghij"))
    with pytest.raises(ValueError, match="held_out: expected a count from 1 to 9, or a fraction"):
        data.split(ten, held_out, Generator(0))


def test_an_empty_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="n: expected 1 or more, got 0"):
        data.epoch_order(Generator(0), 0)


def test_to_float_divides_to_the_last_bit() -> None:
    every = np.arange(256, dtype=np.uint8)
    # Of the rational number, rounded once.
    exact = np.array([np.float32(float(value) / 255) for value in range(256)])
    np.testing.assert_array_equal(data.to_float(every), exact)
    assert data.to_float(every).dtype == np.float32
    # A compiled division is another: that is why there is a table.
    assert (jax.jit(lambda x: x / 255)(np.arange(256, dtype=np.float32)) != exact).sum() == 126
    compiled = jax.jit(data.to_float)(jnp.asarray(every))
    np.testing.assert_array_equal(compiled, exact)
    assert compiled.dtype == jnp.float32


def test_standardised_images_have_mean_0_and_deviation_1() -> None:
    mean, std = data.channel_statistics(IMAGES)
    x = data.to_float(IMAGES).astype(np.float64)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(std, x.std((0, 2, 3)), rtol=1e-7)
    y = data.standardise(data.to_float(IMAGES), mean, std)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std((0, 2, 3)), 1, rtol=1e-6)
    compiled = jax.jit(data.standardise)(jnp.asarray(data.to_float(IMAGES)), mean, std)
    np.testing.assert_allclose(compiled, y, rtol=1e-6)
    np.testing.assert_array_equal(data.standardise(data.to_float(IMAGES)[0], mean, std), y[0])


@pytest.mark.parametrize(
    "padding", [0, 2, (1, 3), (1, 2, 3, 4)], ids=["none", "all", "two", "four"]
)
def test_pad(padding: Padding) -> None:
    left, top, right, bottom = {0: (0,) * 4, 2: (2,) * 4, (1, 3): (1, 3, 1, 3)}.get(
        padding, (1, 2, 3, 4)
    )
    expected = np.full((40, 3, top + 10 + bottom, left + 12 + right), 7, np.uint8)
    expected[:, :, top : top + 10, left : left + 12] = IMAGES
    padded = data.pad(IMAGES, padding, 7)
    assert isinstance(padded, np.ndarray)
    np.testing.assert_array_equal(padded, expected)
    compiled = jax.jit(lambda images: data.pad(images, padding, 7))(IMAGES)
    assert compiled.dtype == jnp.uint8
    np.testing.assert_array_equal(compiled, expected)


def places(cropped: jax.Array, whole: np.ndarray) -> list[tuple[int, int]]:
    """Return where each piece was cut out of its image."""
    *_, height, width = cropped.shape
    windows = np.lib.stride_tricks.sliding_window_view(whole, (height, width), (2, 3))
    same = (windows == np.asarray(cropped)[:, :, None, None]).all((1, 4, 5))
    assert (same.sum((1, 2)) == 1).all()
    return [tuple(map(int, np.argwhere(one)[0])) for one in same]


def test_random_crop_is_a_piece_of_each_image() -> None:
    images = np.tile(IMAGES, (50, 1, 1, 1))
    cropped = data.random_crop(jax.random.key(1), images, (8, 9), padding=1)
    assert (cropped.shape, cropped.dtype) == ((2000, 3, 8, 9), jnp.uint8)
    found = places(cropped, np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))))
    # 2,000 images, 5 x 6 places: each comes 67 times, give or take five deviations.
    counts = np.zeros((5, 6))
    for place in found:
        counts[place] += 1
    assert counts.min() > 67 - 40
    assert counts.max() < 67 + 40


def test_random_flip_mirrors_about_half() -> None:
    images = np.tile(IMAGES, (50, 1, 1, 1))
    flipped = np.asarray(data.random_flip(jax.random.key(2), images))
    mirrored = (flipped == images[..., ::-1]).all((1, 2, 3))
    kept = (flipped == images).all((1, 2, 3))
    assert (mirrored != kept).all()
    assert abs(mirrored.sum() - 1000) < 120
    for p, expected in ((0.0, images), (1.0, images[..., ::-1])):
        np.testing.assert_array_equal(data.random_flip(jax.random.key(2), images, p), expected)


RANDOM = [
    lambda key, images: data.random_crop(key, images, 6, padding=2),
    data.random_flip,
]


@pytest.mark.parametrize("augment", RANDOM, ids=["crop", "flip"])
def test_randomness_is_the_key_s(augment: Callable[[jax.Array, jax.Array], jax.Array]) -> None:
    images, keys = jnp.asarray(IMAGES), jax.random.split(jax.random.key(3))
    one, other = augment(keys[0], images), augment(keys[1], images)
    assert (one != other).any()
    np.testing.assert_array_equal(augment(keys[0], images), one)
    np.testing.assert_array_equal(jax.jit(augment)(keys[0], images), one)
    both = jax.vmap(augment)(keys, jnp.stack([images, images]))
    np.testing.assert_array_equal(both, jnp.stack([one, other]))


FLOATS = np.zeros((2, 3, 4, 4), np.float32)
ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.to_float(FLOATS), "images: expected uint8, got float32"),
        (lambda: data.standardise(IMAGES, ONES, ONES), "images: expected float32 of shape"),
        (lambda: data.standardise(FLOATS[0, 0], ONES, ONES), r"images: .* got float32 of shape \("),
        (lambda: data.standardise(FLOATS, ONES[:1], ONES), r"mean: expected float32 of shape \(3,"),
        (lambda: data.standardise(FLOATS, ONES, ONES.astype(np.float64)), "std: expected float32"),
        (lambda: data.standardise(FLOATS, ONES, 0 * ONES), "std: expected values above 0, got"),
        (lambda: data.channel_statistics(FLOATS), "images: expected uint8 of shape"),
        (lambda: data.channel_statistics(IMAGES[:0]), "images: expected uint8 of shape"),
        (lambda: data.pad(IMAGES, (1, 2, 3)), r"padding: expected 1, 2 or 4 numbers of 0 or more"),
        (lambda: data.pad(IMAGES, -1), "padding: expected 1, 2 or 4 numbers of 0 or more, got -1"),
        (lambda: data.pad(IMAGES[0, 0, 0], 1), r"images: expected shape \(\.\.\., H, W\), got"),
        (
            lambda: data.random_crop(jax.random.key(0), IMAGES, 11),
            "size: expected 1 to 10 x 1 to 12, got 11 x 11",
        ),
        (
            lambda: data.random_crop(jax.random.key(0), IMAGES[0], 3),
            r"images: expected shape \(N, C, H, W\), got \(3, 10, 12\)",
        ),
        (lambda: data.random_flip(jax.random.key(0), IMAGES, 1.5), "p: expected 0 to 1, got 1.5"),
        (lambda: data.random_flip(jax.random.key(0), IMAGES[0]), "images: expected shape"),
    ],
)
def test_refused_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
