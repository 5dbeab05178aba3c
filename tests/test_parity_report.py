"""What a report says, as text and as a page."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from fgrad.parity.chart import Point, Scale, chart
from fgrad.parity.page import charts, to_html
from fgrad.parity.report import to_text
from fgrad.parity.results import Cause, Comparison, Report

INF, NAN = float("inf"), float("nan")
CAUSE = Cause("GELU approximation", "gelu", "It is tanh's.", "approximate=False", 3e-4, 2e-16)


def comparison(step: int, stage: str, place: str, error: float, note: str = "") -> Comparison:
    """Return a comparison that was held to 1e-12."""
    ok = error <= 1e-12
    at = (2, 5)
    return Comparison(
        step, stage, place, "float64", error, error / 2, 1e-12, ok, at, 2.0, 2.0 + error, note
    )


GOOD = [comparison(0, "forward", "fc1", 1e-16), comparison(0, "forward", "gelu", 0.0)]
BAD = [
    comparison(1, "forward", "gelu", 3e-4),
    comparison(1, "loss", "loss", 0.25),
    comparison(1, "gradient", "fc1.weight", INF, "expected shape (2, 3), got (3, 2)"),
    comparison(1, "update", "fc1.weight", NAN, "NaN in the port only"),
]


def report(*comparisons: Comparison, cause: Cause | None = None, path: str = "run") -> Report:
    """Return a report of these comparisons."""
    return Report(path, "restart", comparisons, cause, ("padding",), ("symmetric",), {"jax": "1"})


def test_a_report_of_parity_lists_no_mismatch() -> None:
    lines = to_text(report(*GOOD)).splitlines()
    assert lines[0] == "PARITY: all 2 comparisons with run hold, each step restarted"
    assert lines[2] == "warning: symmetric"
    assert [line.split() for line in lines[4:]] == [
        ["stage", "dtype", "values", "mismatches", "largest", "of", "allowed", "at"],
        ["forward", "float64", "2", "0", "0.0001", "step", "0,", "fc1"],
    ]


def test_a_report_names_first_difference_cause_and_every_mismatch() -> None:
    blocks = to_text(report(*GOOD, *BAD, cause=CAUSE)).split("\n\n")
    assert blocks[0] == "MISMATCH: 4 of 6 comparisons with run, each step restarted"
    assert blocks[2].splitlines() == [
        "first difference: step 1, forward, gelu (float64)",
        "  PyTorch has 2, the port 2.0003, at [2, 5]: 0.0003 apart, 1e-12 allowed",
        "cause: GELU approximation, at gelu",
        "  It is tanh's.",
        "  change: approximate=False",
        "  PyTorch with this mistake is 2e-16 from the port, without it 0.0003",
    ]
    places = [line.split()[1:3] for line in blocks[3].splitlines()[1:]]
    assert places == [[c.stage, c.place] for c in BAD]
    assert "expected shape (2, 3), got (3, 2)" in blocks[3]


def test_columns_are_aligned() -> None:
    table = to_text(report(*GOOD, *BAD)).split("\n\n")[3].splitlines()
    starts = {line.index(c.stage) for line, c in zip(table[1:], BAD, strict=True)}
    assert starts == {table[0].index("stage")}
    ends = {re.search(r"1e-12", line).end() for line in table[1:]}
    assert ends == {table[0].index("allowed") + len("allowed")}


def test_mismatches_beyond_the_limit_are_counted() -> None:
    text = to_text(report(*BAD), limit=1)
    assert "and 3 more" in text
    assert "loss      loss" not in text


def test_a_difference_of_shape_is_told_by_its_note() -> None:
    text = to_text(report(BAD[2]))
    assert "  expected shape (2, 3), got (3, 2)\n" in text
    assert "inf apart" not in text


def test_without_a_cause_what_was_tried_is_said() -> None:
    assert "cause: none of the 1 known mistakes explains it; tried: padding" in to_text(
        report(*BAD)
    )


class Elements(HTMLParser):
    """Collects a page's tags and its text."""

    def __init__(self, page: str) -> None:
        """Read the page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


def test_the_page_needs_nothing_else() -> None:
    page = Elements(to_html(report(*GOOD, *BAD, cause=CAUSE)))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe"})
    attributes = {name for _, given in page.tags for name in given}
    assert attributes.isdisjoint({"src", "href", "onclick"})
    assert "url(" not in page.text
    assert "@media(prefers-color-scheme:dark)" in page.text


def test_the_page_says_what_the_text_says() -> None:
    whole = report(*GOOD, *BAD, cause=CAUSE)
    page = Elements(to_html(whole)).text
    for line in to_text(whole).splitlines():
        for cell in re.split(r"  +", line.removeprefix("warning: ").strip()):
            assert cell in page


def test_everything_in_the_page_is_escaped() -> None:
    name = "<b>&\"'"
    cause = Cause(*([f"{name}{i}" for i in range(4)]), 1.0, 0.0)
    stages = ("forward", "gradient", "update")
    named = [comparison(0, stage, name, 1.0, note=name) for stage in stages]
    made = Report(name, "free", tuple(named), cause, (name,), (name,), {name: name})
    page = Elements(to_html(made))
    assert "b" not in {tag for tag, _ in page.tags}
    assert page.text.count(name) > 20


@pytest.mark.parametrize("comparisons", [GOOD, [*GOOD, *BAD]], ids=["parity", "mismatch"])
def test_charts_are_well_formed_pictures(comparisons: list[Comparison]) -> None:
    for svg in charts(report(*comparisons)):
        root = ElementTree.fromstring(svg)
        _, _, width, height = map(float, root.get("viewBox", "").split())
        for element in root.iter():
            for name, end in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                assert 0 <= float(element.get(name, 0)) <= end


def test_a_chart_has_every_error_and_marks_mismatches() -> None:
    points = [
        Point("fc1", "float64", 1e-16, 1e-12, True, "right"),
        Point("fc1", "float32", 1e-8, 1e-6, True, "right, too"),
        Point("fc2", "float64", INF, 1e-12, False, "wrong"),
        Point("fc2", "float32", 0.0, 1e-6, True, "the same"),
    ]
    root = ElementTree.fromstring(chart("Depth", points))
    space = "{http://www.w3.org/2000/svg}"
    details = [found.text for found in root.iter(f"{space}title")]
    assert sorted(details) == sorted(point.detail for point in points)
    crosses = [path for path in root.iter(f"{space}path") if path.get("class") == "bad"]
    assert len(crosses) == 2  # one of them in the legend
    circles = [float(circle.get("cy", 0)) for circle in root.iter(f"{space}circle")]
    scale = Scale(-16, -6)
    assert circles[1:] == [scale.height(1e-16), scale.height(INF)]


def test_many_labels_are_thinned() -> None:
    points = [Point(f"layer{i}", "float64", 1e-16, 1e-12, True, "") for i in range(200)]
    root = ElementTree.fromstring(chart("Depth", points))
    labels = [text.text for text in root.iter() if (text.text or "").startswith("layer")]
    assert labels == [f"layer{i}" for i in range(0, 200, 6)]
