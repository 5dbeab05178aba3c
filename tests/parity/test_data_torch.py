"""`fgrad.data` against an installed PyTorch: the same images in the same order, index by index."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from fgrad import data
from fgrad.random import Generator

torch = pytest.importorskip("torch")

SEEDS = st.integers(-(2**63), 2**64 - 1)


def numbered(n: int) -> data.Dataset:
    """A data set whose labels tell the indices."""
    return data.Dataset(np.zeros((n, 1, 1, 1), np.uint8), np.arange(n, dtype=np.int32), ("a",))


@given(
    seed=SEEDS, n=st.integers(1, 700), batch=st.integers(1, 64), drop_last=st.booleans(), at=SEEDS
)
@example(seed=0, n=60_000, batch=64, drop_last=False, at=1)
@example(seed=1, n=1442, batch=32, drop_last=True, at=0)
def test_the_order_of_a_shuffled_data_loader(
    seed: int, n: int, batch: int, drop_last: bool, at: int
) -> None:
    """Three epochs, and then the program goes on drawing from the same place."""
    torch.manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        range(n), batch_size=batch, shuffle=True, drop_last=drop_last
    )
    theirs = [list(loader) for _ in range(3)]
    after = torch.randint(0, 2**62, ()).item()
    rng = Generator(seed)
    for batches in theirs:
        order = data.epoch_order(rng, n)
        assert len(batches) == (n // batch if drop_last else math.ceil(n / batch))
        for step, indices in enumerate(batches):
            ours = order[step * batch : (step + 1) * batch]
            np.testing.assert_array_equal(ours, indices.numpy())
    assert rng.randint(0, 2**62, ()) == after


def random_split(n: int, lengths: list[float], seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.utils.data.random_split(range(n), lengths, generator=generator)
    return [list(part.indices) for part in parts]


@given(seed=SEEDS, n=st.integers(2, 700), count=st.integers(1, 699))
def test_a_split_by_count(seed: int, n: int, count: int) -> None:
    assume(count < n)
    train, held_out = data.split(numbered(n), count, Generator(seed))
    theirs = random_split(n, [n - count, count], seed)
    assert [train.labels.tolist(), held_out.labels.tolist()] == theirs


@given(seed=SEEDS, n=st.integers(2, 700), fraction=st.floats(0.001, 0.999))
@example(seed=0, n=60_000, fraction=0.1)
@example(seed=0, n=1000, fraction=0.3)
@example(seed=0, n=10, fraction=0.7)
def test_a_split_by_fraction(seed: int, n: int, fraction: float) -> None:
    # PyTorch takes fractions whose sum, as floats, is at most 1.
    assume(n * fraction >= 1 and (1 - fraction) + fraction <= 1)
    train, held_out = data.split(numbered(n), fraction, Generator(seed))
    theirs = random_split(n, [1 - fraction, fraction], seed)
    assert [train.labels.tolist(), held_out.labels.tolist()] == theirs


def test_to_float_is_a_tensor_divided() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    theirs = torch.from_numpy(every).to(torch.float32).div(255).numpy()
    np.testing.assert_array_equal(data.to_float(every), theirs)


def test_standardise_is_torchvision_s_arithmetic() -> None:
    """Subtract, then divide, in place and in float32, as its `normalize` does."""
    images = data.to_float(data.digits().test.images[:50].repeat(3, axis=1))
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    shaped = (torch.from_numpy(value).view(-1, 1, 1) for value in (mean, std))
    theirs = torch.from_numpy(images).clone().sub_(next(shaped)).div_(next(shaped)).numpy()
    np.testing.assert_array_equal(data.standardise(images, mean, std), theirs)


def test_channel_statistics() -> None:
    images = data.digits().train.images[:300].reshape(100, 3, 32, 32)
    std, mean = torch.std_mean(torch.from_numpy(images).double() / 255, dim=(0, 2, 3), correction=0)
    ours = data.channel_statistics(images)
    np.testing.assert_array_equal(ours, [mean.float().numpy(), std.float().numpy()])


@pytest.mark.parametrize(
    ("padding", "torch_s"),
    [(2, (2, 2, 2, 2)), ((1, 3), (1, 1, 3, 3)), ((1, 2, 3, 4), (1, 3, 2, 4))],
)
def test_pad(padding: data.transforms.Padding, torch_s: tuple[int, ...]) -> None:
    """`torch.nn.functional.pad` counts left, right, top, bottom."""
    images = data.digits().test.images[:2]
    theirs = torch.nn.functional.pad(torch.from_numpy(images), torch_s, value=7)
    np.testing.assert_array_equal(data.pad(images, padding, 7), theirs.numpy())


def test_digits_are_enlarged_as_interpolate_does() -> None:
    from sklearn.datasets import load_digits

    bundled = torch.from_numpy(np.rint(load_digits().images[:, None] * (255 / 16)))
    large = torch.nn.functional.interpolate(bundled, (32, 32), mode="bilinear").round()
    train, test = data.digits()
    ours = np.concatenate([train.images, test.images]).reshape(-1, 32 * 32)
    theirs = large.numpy().astype(np.uint8).reshape(-1, 32 * 32)
    np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))


@pytest.mark.parametrize(
    ("height", "width"), [(40, 40), (50, 90), (91, 50), (9, 9), (9, 14), (7, 20), (100, 3)]
)
def test_pictures_are_scaled_and_cut_as_torchvision_does(
    height: int, width: int, tmp_path: Path
) -> None:
    """Its Resize is `interpolate` with antialiasing, its CenterCrop rounds the margins."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width), "u1")
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "a.png")
    size = 20
    high, wide = (int(size * side / min(height, width)) for side in (height, width))
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(pixels)[None].double(), (high, wide), mode="bilinear", antialias=True
    )
    top, left = (round((side - size) / 2.0) for side in (high, wide))
    theirs = scaled[0, :, top : top + size, left : left + size].numpy()
    ours = data.read_image(tmp_path / "a.png", size=size, channels=3)
    # Pillow rounds to bytes after each of the two directions.
    np.testing.assert_allclose(ours, theirs, atol=1.1)
