"""Pictures of every kind, by what their pixels must be; and folders of them by class."""

import concurrent.futures
import errno
import io
import os
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgrad import data

RNG = np.random.default_rng(0)
SIZE = 8
GREY = RNG.integers(0, 256, (SIZE, SIZE), "u1")
COLOUR = RNG.integers(0, 256, (SIZE, SIZE, 3), "u1")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    """An image of the first colours, by turns."""
    image = Image.fromarray(
        (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % len(colours)).astype("u1")
    )
    image.putpalette([value for colour in colours for value in colour])
    return image


def with_alpha(grey: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


TWO = palette((9, 9, 9), (80, 80, 80))
FIRST = np.full((SIZE, SIZE), 10, "u1")
SECOND = Image.fromarray(FIRST + 100)
# A picture, and its pixels as grey.
GREYS = {
    "8 bits": (saved(Image.fromarray(GREY), "PNG"), GREY),
    "pgm": (saved(Image.fromarray(GREY), "PPM"), GREY),
    "bmp": (saved(Image.fromarray(GREY), "BMP"), GREY),
    "tiff": (saved(Image.fromarray(GREY), "TIFF"), GREY),
    "1 bit": (saved(Image.fromarray(GREY > 127), "PNG"), np.where(GREY > 127, 255, 0)),
    "16 bits": (saved(Image.fromarray(GREY.astype("u2") * 256 + 255), "PNG"), GREY),
    "16 bits, pgm": (
        b"P5 8 8 65535\n" + (GREY.astype("u2") * 256 + 255).astype(">u2").tobytes(),
        GREY,
    ),
    "16 bits, transparent": (
        saved(Image.fromarray(np.tile(np.uint16([9, 5120]), (8, 4))), "PNG", transparency=9),
        np.tile([255, 20], (SIZE, SIZE // 2)),
    ),
    "16 bits, tiff": (saved(Image.fromarray(GREY.astype("u2") * 256), "TIFF"), GREY),
    "palette": (
        saved(palette((9, 9, 9), (80, 80, 80)), "GIF"),
        np.tile([9, 80], (SIZE, SIZE // 2)),
    ),
    "transparent": (saved(with_alpha(GREY, FIRST * 0), "PNG"), FIRST * 0 + 255),
    "opaque": (saved(with_alpha(GREY, FIRST * 0 + 255), "PNG"), GREY),
    "transparent colour": (
        saved(TWO, "PNG", transparency=0),
        np.tile([255, 80], (SIZE, SIZE // 2)),
    ),
    **{
        f"animated {kind}": (
            saved(Image.fromarray(FIRST), kind, save_all=True, append_images=[SECOND]),
            FIRST,
        )
        for kind in ("PNG", "GIF")
    },
    "on its side": (saved(Image.fromarray(GREY), "PNG", exif=turned(6)), np.rot90(GREY, -1)),
    "upside down": (saved(Image.fromarray(GREY), "PNG", exif=turned(3)), np.rot90(GREY, 2)),
    "broken EXIF": (saved(Image.fromarray(GREY), "PNG", exif=b"MM\0*\0\0\0\x08\0\xff"), GREY),
    "wide": (saved(Image.fromarray(np.pad(GREY, ((0, 0), (6, 6)))), "PNG"), GREY),
    "high": (saved(Image.fromarray(np.pad(GREY, ((6, 6), (0, 0)))), "PNG"), GREY),
}


@pytest.mark.parametrize(("content", "pixels"), GREYS.values(), ids=list(GREYS))
def test_grey_pixels(content: bytes, pixels: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(content)
    image = data.read_image(tmp_path / "picture", size=SIZE, channels=1)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_array_equal(image, pixels[None])
    # Grey is as much of red as of green and blue.
    image = data.read_image(tmp_path / "picture", size=SIZE, channels=3)
    np.testing.assert_array_equal(image, np.stack([pixels] * 3))


INKS = [*(255 - COLOUR).transpose(2, 0, 1), np.zeros((SIZE, SIZE), "u1")]
COLOURS = {
    "png": saved(Image.fromarray(COLOUR), "PNG"),
    "ppm": saved(Image.fromarray(COLOUR), "PPM"),
    "webp": saved(Image.fromarray(COLOUR), "WEBP", lossless=True),
    "cmyk": saved(Image.merge("CMYK", [Image.fromarray(ink) for ink in INKS]), "TIFF"),
}


@pytest.mark.parametrize("content", COLOURS.values(), ids=list(COLOURS))
def test_colour_pixels(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(content)
    image = data.read_image(tmp_path / "picture", size=SIZE, channels=3)
    np.testing.assert_array_equal(image, COLOUR.transpose(2, 0, 1))
    # ITU-R 601, as the notes' torchvision has it.
    grey = data.read_image(tmp_path / "picture", size=SIZE, channels=1)
    np.testing.assert_allclose(grey[0], COLOUR @ [0.299, 0.587, 0.114], atol=0.51)


def test_half_transparent_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 100, 200, 51)).save(tmp_path / "a.png")
    image = data.read_image(tmp_path / "a.png", size=2, channels=3)
    np.testing.assert_array_equal(image[:, 0, 0], [204, 224, 244])


def test_a_flat_picture_stays_flat_at_any_size(tmp_path: Path) -> None:
    Image.new("L", (301, 77), 90).save(tmp_path / "a.png")
    for size in (1, 5, 200):
        assert (data.read_image(tmp_path / "a.png", size=size, channels=1) == 90).all()


def claiming(width: int, height: int) -> bytes:
    """A PNG file of 2x2 pixels whose header tells another size."""
    content = saved(Image.new("RGB", (2, 2)), "PNG")
    header = content[12:16] + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


REFUSED = {
    "empty": (b"", "none of these"),
    "text": (b"a picture of a cat", "none of these"),
    "cut": (saved(Image.fromarray(np.tile(COLOUR, (40, 40, 1))), "JPEG")[:2000], "runcated"),
    "32 bits": (saved(Image.new("I", (2, 2), 7), "TIFF"), "mode I"),
    "floats": (saved(Image.new("F", (2, 2), 7), "TIFF"), "mode F"),
    "another format": (saved(Image.new("RGB", (2, 2)), "PCX"), "none of these"),
    "claims too much": (claiming(9000, 9000), "9000x9000 pixels in "),
    "claims far too much": (claiming(2**30, 2**30), "1152921504606846976 pixels"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_not_a_picture(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        data.read_image(path, size=4, channels=3)
    assert str(error.value).startswith(f"{path}: expected a whole picture (JPEG, ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_pictures(kind: str, tmp_path: Path) -> None:
    """Each loads, with other pixels perhaps, or is named."""
    whole = saved(Image.fromarray(np.tile(COLOUR, (3, 3, 1))), kind)
    path = tmp_path / "picture"
    rng = np.random.default_rng(2)
    messages = []
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path.write_bytes(content[: None if rng.random() < 0.5 else int(rng.integers(len(content)))])
        try:
            image = data.read_image(path, size=4, channels=3)
        except ValueError as error:
            messages.append(str(error))
        else:
            assert image.shape == (3, 4, 4)
    assert len(messages) > 20
    assert all(message.startswith(f"{path}: expected a whole picture") for message in messages)
    assert not any("\n" in message for message in messages)


def folder_of(tmp_path: Path, names: list[str]) -> Path:
    """A folder of grey pictures, of values 0, 1, ... in the order of `names`."""
    for value, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = saved(Image.new("L", (3, 3), value), "PNG")
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_folder_in_torchvision_s_order(tmp_path: Path) -> None:
    """Classes by name; in each its own files first, then those of its subfolders."""
    names = ["B/1.png", "a/10.png", "a/9.PNG", "a/x.jpeg", "a/deep/0.png", "a/deep/er/1.gif"]
    folder = folder_of(tmp_path, names)
    (folder / "a" / "notes.txt").write_text("not a picture")
    (folder / "beside.png").write_text("of no class")
    images, labels, classes = data.image_folder(folder, size=2, channels=3)
    assert classes == ("B", "a")
    assert images.shape == (6, 3, 2, 2)
    np.testing.assert_array_equal(images[:, 0, 0, 0], range(6))
    np.testing.assert_array_equal(labels, [0, 1, 1, 1, 1, 1])
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)


def test_names_are_sorted_at_every_level(tmp_path: Path) -> None:
    """However the file system lists them."""
    names = [f"{a}/{b}/{c}.png" for a in "123456" for b in "123456" for c in "123"]
    folder_of(tmp_path, [names[i] for i in RNG.permutation(len(names))])
    made = {name: saved(Image.new("L", (2, 2), i), "PNG") for i, name in enumerate(names)}
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    images, labels, classes = data.image_folder(tmp_path, size=2, channels=1)
    assert classes == tuple("123456")
    np.testing.assert_array_equal(images[:, 0, 0, 0], range(len(names)))
    np.testing.assert_array_equal(labels, np.repeat(range(6), 18))


def test_names_that_begin_with_a_dot_are_left_out(tmp_path: Path) -> None:
    """As notebooks and Macs leave them."""
    folder = folder_of(tmp_path, ["cat/0.png", "cat/.cache/1.png", "dog/2.png"])
    folder_of(tmp_path, [".ipynb_checkpoints/0.png"])
    (folder / "cat" / "._0.png").write_bytes(b"no picture")
    _, labels, classes = data.image_folder(folder, size=2, channels=1)
    assert (classes, labels.tolist()) == (("cat", "dog"), [0, 1])


def test_the_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["Train/cat/0.png", "test/cat/1.png", "val/cat/1.png"])
    with pytest.raises(ValueError, match=r"got the parts of a data set, Train, test, val; give"):
        data.image_folder(folder, size=2, channels=1)
    assert data.image_folder(folder / "Train", size=2, channels=1).classes == ("cat",)
    folder_of(tmp_path, ["bus/0.png"])  # train, test and bus may well be classes
    assert len(data.image_folder(folder, size=2, channels=1).classes) == 4


def test_a_scan_in_black_and_white_is_read_however_few_its_bytes(tmp_path: Path) -> None:
    """A4 at 600 dpi."""
    scan = Image.new("1", (4960, 7016), 1)
    scan.paste(0, (0, 0, 4960, 3508))
    scan.save(tmp_path / "scan.png")
    assert (tmp_path / "scan.png").stat().st_size < 4960 * 7016 // 1000
    image = data.read_image(tmp_path / "scan.png", size=8, channels=1)
    np.testing.assert_array_equal(image[0, [0, -1], 0], [0, 255])


def test_many_pixels_are_reduced_before_they_are_copied(tmp_path: Path) -> None:
    """Of every kind, and to what smaller pictures give; what would fill the memory is refused."""
    tile = Image.fromarray(np.repeat([[50, 200]], 2, 0).astype("u1"))
    wide = tile.resize((6000, 3000), Image.Resampling.NEAREST)
    for mode in ("L", "RGB", "P", "RGBA", "LA"):
        wide.convert(mode).save(tmp_path / "a.png")
        image = data.read_image(tmp_path / "a.png", size=None, channels=1, longest=60)
        assert image.shape == (1, 30, 60), mode
        np.testing.assert_array_equal(image[0, 0, [2, -2]], [50, 200])
    wide.save(tmp_path / "a.jpg")
    image = data.read_image(tmp_path / "a.jpg", size=8, channels=3)
    assert np.abs(image[1, :, [0, -1]].T - [50.0, 200]).max() < 3
    content = claiming(13300, 13300)
    (tmp_path / "a.png").write_bytes(content + bytes(13300 * 13300 // 1000))
    with pytest.raises(ValueError, match=r"got 13300x13300 pixels, 707 MB unpacked; scale it"):
        data.read_image(tmp_path / "a.png", size=2, channels=3)


def test_threads_leave_the_filters_of_warnings_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(GREYS["broken EXIF"][0])
    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(
            pool.map(lambda _: data.read_image(tmp_path / "a.png", size=4, channels=1), range(200))
        )
    assert warnings.filters == before


def test_links_are_followed_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["a/0.png"])
    (folder / "a" / "back").symlink_to(folder / "a")
    elsewhere = folder_of(tmp_path / "elsewhere", ["0.png", "1.png"])
    (folder / "b").symlink_to(elsewhere)
    _, labels, classes = data.image_folder(folder, size=2, channels=1)
    assert (classes, labels.tolist()) == (("a", "b"), [0, 1, 1])


def test_an_unlike_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a subfolder for each class in .*, got none"):
        data.image_folder(tmp_path, size=2, channels=1)
    folder_of(tmp_path, ["a/0.png"])
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"expected pictures .* got none in b, c$"):
        data.image_folder(tmp_path, size=2, channels=1)
    with pytest.raises(ValueError, match="folder: expected a folder, got none at none"):
        data.image_folder("none", size=2, channels=1)


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures are not left out without a word."""
    folder_of(tmp_path, ["a/0.png", "a/deep/0.png", "b/0.png"])
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    locked = str(tmp_path / "a" / "deep")
    with pytest.raises(ValueError, match=r"a/deep: expected a folder that can be read, got Perm"):
        data.image_folder(tmp_path, size=2, channels=1)
    locked = str(tmp_path)
    with pytest.raises(ValueError, match="folder: expected a folder, got Perm"):
        data.image_folder(tmp_path, size=2, channels=1)


def test_unreadable_pictures_are_named_together(tmp_path: Path) -> None:
    folder_of(tmp_path, [f"a/{number}.png" for number in range(8)])
    for number in (1, 3, 4, 6):
        (tmp_path / "a" / f"{number}.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"and 1 more$") as error:
        data.image_folder(tmp_path, size=2, channels=1)
    for number in range(8):
        assert (f"{number}.png" in str(error.value)) == (number in (1, 3, 4))


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        (0, 1, "size: expected 1 or more, got 0"),
        (4, 2, "channels: expected 1 or 3, got 2"),
    ],
)
def test_refused_arguments(size: int, channels: int, message: str, tmp_path: Path) -> None:
    for read in (data.read_image, data.image_folder):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, size=size, channels=channels)


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("PIL.Image", lambda: data.read_image("a.png", size=2, channels=1)),
        ("sklearn.datasets", data.digits),
        ("pooch", lambda: data.download("mnist")),
    ],
)
def test_a_missing_library_is_named(
    module: str, call: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(call)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'^{module}: .*pip install "fgrad\[vision\]"'):
        call()
