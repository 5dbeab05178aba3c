"""`docs/pytorch_to_jax.md`: every name is there, and every JAX block gives what the page states."""

import re

import numpy as np
import pytest
from lesson_page import PAGE, Section, assert_same, result, sections

SECTIONS = sections()
HEADINGS = [section.heading for section in SECTIONS]

# Every PyTorch name that the lesson notes use.
NAMES = (PAGE.parent.parent / "tests/references/pytorch_names.txt").read_text().splitlines()


def names(heading: str) -> list[str]:
    return re.findall(r"`([^`]+)`", heading)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_one_section(name: str) -> None:
    assert sum(name in names(heading) for heading in HEADINGS) == 1


@pytest.mark.parametrize("section", SECTIONS, ids=HEADINGS)
def test_the_jax_block_gives_what_is_stated(section: Section) -> None:
    assert_same(result(section.part("jax")), section.stated, exact=section.exact)


@pytest.mark.parametrize("section", SECTIONS, ids=HEADINGS)
def test_both_blocks_end_with_a_result(section: Section) -> None:
    for block in (section.part("pytorch"), section.part("jax")):
        assert len(re.findall(r"^result = ", block, re.MULTILINE)) == 1
        assert re.search(r"^result = [^\n]+\n(# [^\n]+\n)?\Z", block, re.MULTILINE)
    assert "import torch\n" in section.part("pytorch")
    assert "torch" not in re.findall(r"\w+", section.part("jax"))


@pytest.mark.parametrize("section", SECTIONS, ids=HEADINGS)
def test_what_differs_is_one_sentence(section: Section) -> None:
    difference = section.part("difference")
    assert "\n\n" not in difference
    words = re.sub(r"`[^`]*`|\]\([^)]*\)", "", difference)
    assert re.findall(r"[.!?](?=\s|$)", words) == ["."]
    assert words.endswith(".")


def test_contents_list_every_section_by_theme() -> None:
    contents = PAGE.read_text().partition("\n## ")[0]
    listed = []
    for theme, links in re.findall(r"^- \*\*(.+)\*\*:\n((?:  .+\n)+)", contents, re.MULTILINE):
        listed += [(theme, *link) for link in re.findall(r"\[(.+)\]\(#(.+)\)", links)]
    seen: list[str] = []
    expected = []
    for section in SECTIONS:
        # As GitHub makes them: no punctuation, and a number where a name comes again.
        anchor = re.sub(r"[^\w\- ]", "", section.heading.lower()).replace(" ", "-")
        number = seen.count(anchor)
        seen.append(anchor)
        expected.append(
            (section.theme, section.heading, f"{anchor}-{number}" if number else anchor)
        )
    assert listed == expected


@pytest.mark.parametrize(
    ("actual", "expected", "exact"),
    [
        (np.float32(1), np.float32(1) + np.float32(2**-23), True),
        (np.float32(1), 1.0001, False),
        (np.float32([1, 1]), np.float32(1), False),
        (np.int32(1), 1.0, True),
        ([1, 2], [1], True),
        ({"a": 1}, {"b": 1}, True),
        ("a", "b", True),
    ],
    ids=["last bit", "rounding", "shape", "kind", "length", "key", "text"],
)
def test_a_difference_is_seen(actual: object, expected: object, exact: bool) -> None:
    assert_same(actual, actual, exact=exact)
    with pytest.raises(AssertionError):
        assert_same(actual, expected, exact=exact)
