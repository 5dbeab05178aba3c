"""Photographs of handwriting: held-out digits as ink on a page, with what disturbs such pictures.

As a program it prints how many of 100 a trained network gets right of each kind:

    python tests/photographs.py runs/digits
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fgrad import classifier, data
from fgrad.classifier import folder
from fgrad.classifier.nets import SIZE

CREAM, INK = (240, 235, 220), (20, 30, 90)
Draw = Callable[[np.ndarray, np.random.Generator], Image.Image]


def written(
    image: np.ndarray,
    *,
    side: int = 200,
    page: tuple[int, int] = (400, 300),
    place: tuple[int, int] = (100, 50),
    pen: int = 0,
    ink: tuple[int, int, int] = INK,
    paper: tuple[int, int, int] = CREAM,
) -> Image.Image:
    """Draw a digit on a page; a positive `pen` is thicker by so many pixels, a negative thinner."""
    digit = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    if pen:
        kernel = ImageFilter.MaxFilter if pen > 0 else ImageFilter.MinFilter
        margin = max(pen, 0)
        wider = Image.new("L", (side + 2 * margin,) * 2)
        wider.paste(digit, (margin, margin))
        digit = wider.filter(kernel(2 * abs(pen) + 1))
        place = (place[0] - margin, place[1] - margin)
    sheet = Image.new("RGB", page, paper)
    sheet.paste(ink, place, digit)
    return sheet


def plain(image: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Draw a digit somewhere on a page."""
    return written(image, place=(int(rng.integers(10, 190)), int(rng.integers(10, 90))))


def lit(sheet: Image.Image, light: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Image.Image:
    """Multiply a picture by a light that depends on the place, across and down, -1 to 1."""
    pixels = np.asarray(sheet, np.float32)
    down, across = np.meshgrid(
        *(np.linspace(-1, 1, side) for side in pixels.shape[:2]), indexing="ij"
    )
    bright = pixels * light(across, down)[..., None]
    return Image.fromarray(np.clip(bright, 0, 255).astype(np.uint8))


def falling(sheet: Image.Image, share: float, angle: float = 0.0) -> Image.Image:
    """Let the light fall by a share from one side to the other."""
    c, s = np.cos(angle), np.sin(angle)
    reach = abs(c) + abs(s)
    return lit(sheet, lambda x, y: 1 - share * ((c * x + s * y) / reach + 1) / 2)


def vignette(sheet: Image.Image, share: float) -> Image.Image:
    """Darken the corners by a share."""
    return lit(sheet, lambda x, y: 1 - share * (x**2 + y**2) / 2)


def shadow(sheet: Image.Image, rng: np.random.Generator, blur: float) -> Image.Image:
    """Lay a shadow of 40% over one part, with an edge as sharp as `blur` says."""
    angle, middle = rng.uniform(0, 6.3), rng.uniform(-0.5, 0.5)
    return lit(
        sheet,
        lambda x, y: (
            1 - 0.4 / (1 + np.exp(-(np.cos(angle) * x + np.sin(angle) * y - middle) / blur))
        ),
    )


def noisy(sheet: Image.Image, rng: np.random.Generator, sigma: float) -> Image.Image:
    """Add normal noise to every channel."""
    pixels = np.asarray(sheet, np.float32)
    pixels = pixels + rng.normal(0, sigma, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def specked(sheet: Image.Image, rng: np.random.Generator, side: int = 3) -> Image.Image:
    """Put a black speck somewhere."""
    x, y = (int(rng.integers(0, length - side)) for length in sheet.size)
    sheet.paste((0, 0, 0), (x, y, x + side, y + side))
    return sheet


def ruled(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    squared: bool,
    gap: int = 20,
    width: int = 1,
    color: tuple[int, int, int] = (150, 170, 210),
    slope: float = 0.0,
) -> Image.Image:
    """Draw a digit on paper with lines, in one direction or in two."""
    blank = Image.new("RGB", (400, 300), CREAM)
    draw = ImageDraw.Draw(blank)
    for y in range(-100 + int(rng.integers(gap)), 400, gap):
        draw.line((0, y, 400, y + 400 * slope), fill=color, width=width)
    if squared:
        for x in range(-100 + int(rng.integers(gap)), 500, gap):
            draw.line((x, 0, x - 300 * slope, 300), fill=color, width=width)
    digit = Image.fromarray(image).resize((200, 200), Image.Resampling.BILINEAR)
    blank.paste(INK, (int(rng.integers(10, 190)), int(rng.integers(10, 90))), digit)
    return blank


def on_table(
    image: np.ndarray,
    rng: np.random.Generator,
    table: tuple[int, int, int] = (60, 40, 25),
    margin: int = 60,
    turn: float = 4.0,
) -> Image.Image:
    """Lay the page on a table."""
    sheet = plain(image, rng)
    page = Image.new("RGBA", (400 + 2 * margin, 300 + 2 * margin))
    page.paste(sheet, (margin, margin))
    page = page.rotate(rng.uniform(-turn, turn), Image.Resampling.BILINEAR)
    whole = Image.new("RGB", page.size, table)
    whole.paste(page, (0, 0), page)
    return whole


def two(image: np.ndarray, rng: np.random.Generator, gap: int = 20) -> Image.Image:
    """Write two digits side by side."""
    other = data.digits().test.images[int(rng.integers(100, 355)), 0]
    sheet = written(image, side=150, place=(30, 70))
    second = Image.fromarray(other).resize((150, 150), Image.Resampling.BILINEAR)
    sheet.paste(INK, (180 + gap, 70), second)
    return sheet


def compressed(sheet: Image.Image, quality: int) -> Image.Image:
    """Return what JPEG makes of it."""
    with tempfile.TemporaryFile() as file:
        sheet.save(file, "JPEG", quality=quality)
        file.seek(0)
        with Image.open(file) as image:
            return image.convert("RGB")


def framed(sheet: Image.Image, width: int = 12) -> Image.Image:
    """Draw a thick frame along the picture's border."""
    ImageDraw.Draw(sheet).rectangle((0, 0, *sheet.size), outline=INK, width=width)
    return sheet


HELD: Final[Mapping[str, Draw]] = {
    "plain": plain,
    "light falling 30%": lambda i, r: falling(plain(i, r), 0.3),
    "small in a large page": lambda i, r: written(i, side=60, page=(900, 700), place=(500, 200)),
    "a thin pen": lambda i, r: written(i, pen=-3),
    "a thick pen": lambda i, r: written(i, pen=6),
}
"""What a clean picture may differ in."""

DISTURBED: Final[Mapping[str, Draw]] = {
    "a speck of 3x3 pixels": lambda i, r: specked(plain(i, r), r),
    "light falling 45%": lambda i, r: falling(plain(i, r), 0.45),
    "a vignette of 35%": lambda i, r: vignette(plain(i, r), 0.35),
    "ruled paper": lambda i, r: ruled(i, r, squared=False),
    "squared paper": lambda i, r: ruled(i, r, squared=True),
    "a sheet on a dark table": on_table,
    "a very thick pen": lambda i, r: written(i, pen=14),
    "noise of sigma 30": lambda i, r: noisy(plain(i, r), r, 30),
    "pencil": lambda i, r: written(i, ink=(150, 148, 145), pen=-3),
    "a shadow's sharp edge": lambda i, r: shadow(plain(i, r), r, 0.01),
    "a shadow's soft edge": lambda i, r: shadow(plain(i, r), r, 0.2),
    "yellow paper": lambda i, r: written(i, paper=(235, 200, 60)),
    "JPEG of quality 10": lambda i, r: compressed(plain(i, r), 10),
    "chalk on a board": lambda i, r: falling(
        written(i, ink=(230, 230, 225), paper=(40, 60, 50)), 0.3, 0.7
    ),
    "black lines": lambda i, r: ruled(i, r, squared=True, gap=40, color=(40, 40, 40)),
    "tilted lines": lambda i, r: ruled(i, r, squared=True, slope=0.05, width=2),
}
"""What disturbs the writing."""

DUBIOUS: Final[Mapping[str, Draw]] = {
    "two digits": two,
    "two digits far apart": lambda i, r: two(i, r, gap=50),
    "a frame along the border": lambda i, r: framed(plain(i, r)),
}
"""What leaves an answer a guess."""


def judged(kind: Draw, run: Path, count: int = 100) -> tuple[int, int, int]:
    """Draw held-out digits, and tell how a run's network does on them.

    Returns:
        How many are right; how many are said to be a guess; how many are wrong, not said to be a
        guess, and at more than 90%.
    """
    network, params, facts = folder.load(run)
    mean, std = (np.array(facts[name], np.float32) for name in ("mean", "std"))
    test, rng = data.digits().test, np.random.default_rng(0)
    prepared = []
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / "picture.png"
        for image in test.images[:count, 0]:
            kind(image, rng).save(path)
            prepared.append(classifier.prepare(path, size=SIZE, channels=1, extent=facts["extent"]))
    images = np.stack([picture.image for picture in prepared])
    scores = network.apply(params, data.standardise(data.to_float(images), mean, std))
    sure, best = np.asarray(jax.nn.softmax(scores)).max(1), np.asarray(scores).argmax(1)
    guess = np.array([bool(picture.doubts) for picture in prepared])
    right = best == test.labels[:count]
    return int(right.sum()), int(guess.sum()), int((~right & ~guess & (sure > 0.9)).sum())


if __name__ == "__main__":
    for name, kind in {**HELD, **DISTURBED, **DUBIOUS}.items():
        right, guesses, sure = judged(kind, Path(sys.argv[1]))
        print(f"| {name} | {right} | {guesses} | {sure} |", flush=True)
