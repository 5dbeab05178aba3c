"""Names of any script in figures: the fonts that have their letters, and what to do without."""

import functools
from collections.abc import Iterable, Sequence

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font


def families(names: Iterable[str]) -> list[str]:
    """Return the fonts that draw some names: matplotlib's own, and what it lacks letters of.

    Args:
        names: The names.

    Returns:
        Font families, for matplotlib's `fontfamily`.

    Example:
        >>> families(["cat", "Käse"]) == rcParams["font.family"]
        True
    """
    letters = sorted(set("".join(names)))
    found = [_family(letter) for letter in letters if not _is_usual(letter)]
    return [*rcParams["font.family"], *dict.fromkeys(family for family in found if family)]


def legible(names: Sequence[str]) -> list[str]:
    r"""Return names with the letters that no font here has as Python writes them in ASCII.

    Args:
        names: The names.

    Returns:
        As many; those that can be drawn are as they were.

    Example:
        >>> legible(["cat", chr(0x0378)])  # no letter at all
        ['cat', '\\u0378']
    """
    return [
        "".join(
            letter
            if _is_usual(letter) or _family(letter)
            else letter.encode("ascii", "backslashreplace").decode()
            for letter in name
        )
        for name in names
    ]


@functools.cache
def _usual() -> frozenset[int]:
    """Return the letters of the font that is used if nothing is said."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def _is_usual(letter: str) -> bool:
    return ord(letter) in _usual()


@functools.cache
def _family(letter: str) -> str | None:
    """Return the family of the first upright font that has a letter."""
    for entry in fontManager.ttflist:
        if entry.name.startswith("Last Resort"):  # whose letters are boxes with numbers
            continue
        if entry.style == "normal" and get_font(entry.fname).get_char_index(ord(letter)):
            # It is found again by its family alone, which may lead to another of its faces.
            chosen = findfont(FontProperties(family=entry.name))
            if get_font(chosen).get_char_index(ord(letter)):
                return entry.name
    return None
