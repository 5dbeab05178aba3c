"""What graphs look like: every format says every number, boxes keep apart, text fits."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgrad.graph import Graph, graph, named
from fgrad.graph.layout import layered
from fgrad.graph.scene import FONT_SIZE, scene
from fgrad.types import Array

FORMATS = ("text", "mermaid", "dot", "svg")


def block(w: Array, x: Array) -> Array:
    """Return a few operations, some in a scope."""
    with jax.named_scope("inner"):
        y = named(jnp.tanh(w * x) + x, "y")
    return (y - w) ** 2 / 3


@pytest.fixture(scope="module")
def drawn() -> Graph:
    return graph(block, jnp.float32(0.5), jnp.float32(2))


def test_the_table_is_aligned_and_complete(drawn: Graph) -> None:
    header, *lines = str(drawn).splitlines()
    assert len(lines) == len(drawn.nodes)
    column = header.index("adjoint")
    for node, line in zip(drawn.nodes, lines, strict=True):
        assert line.split()[0] == node.name
        assert line[column - 1] == " "
        assert line[column:].split()[0] == str(node.adjoint)
        assert str(node.value) in line


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("opened", [False, True], ids=["closed", "opened"])
def test_every_format_names_every_node_and_edge(drawn: Graph, fmt: str, opened: bool) -> None:
    shown = drawn.open() if opened else drawn
    text = shown.render(fmt)
    for node in shown.nodes:
        assert node.name in text
        assert node.adjoint is not None
        assert f"{float(node.adjoint):.5g}"[:5] in text
    edges = {"mermaid": "--> ", "dot": " -> ", "svg": "marker-end"}
    if fmt in edges:
        assert text.count(edges[fmt]) == len(shown.edges)


def test_opened_scopes_are_framed(drawn: Graph) -> None:
    assert 'subgraph s3["inner"]' in drawn.open().render("mermaid")
    assert drawn.open().render("mermaid").count("    end\n") == 1
    assert 'subgraph cluster_6 { label="inner"' in drawn.open().render("dot")


@pytest.mark.parametrize(
    ("x", "bad"), [(-1.0, "value"), (0.0, "adjoint")], ids=["nan value", "infinite adjoint"]
)
def test_what_is_not_finite_is_marked_everywhere(x: float, bad: str) -> None:
    traced = graph(lambda x: jnp.sqrt(x) + 1, jnp.float32(x))
    first = next(node for node in traced.nodes if bad in node.bad)
    assert first.name == ("sqrt" if bad == "value" else "x")
    line = next(line for line in str(traced).splitlines() if line.startswith(first.name))
    assert f"<- {bad} not finite" in line
    assert f"! {bad} not finite" in traced.render("svg")
    assert "fill:#fde0dd" in traced.render("mermaid")
    assert "#fde0dd" in traced.render("dot")
    clean = graph(lambda x: jnp.sqrt(x) + 1, jnp.float32(1))
    assert not any("fde0dd" in clean.render(fmt) for fmt in FORMATS)
    assert not any("not finite" in clean.render(fmt) for fmt in FORMATS)


@pytest.mark.parametrize("fmt", FORMATS)
def test_large_arrays_show_shape_and_norm(fmt: str) -> None:
    text = graph(lambda x: jnp.sum(x * x), 2 * jnp.ones((30, 30))).render(fmt)
    assert "float32[30,30]" in text
    assert "norm 60" in text
    assert len(text) < 4000


def test_small_arrays_show_their_numbers() -> None:
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    text = str(graph(lambda x: jnp.sum(x**2 + 4 * x + 1), x))
    assert "[[1.0 2.0] [3.0 4.0]]" in text
    assert "[[6.0 8.0] [10.0 12.0]]" in text
    assert "74.0" in text


def test_names_that_markup_would_trip_over() -> None:
    name = 'a"b<c>&\\'
    traced = graph(lambda d: d[name] * 2, {name: jnp.float32(1)})
    assert "a&quot;b&lt;c&gt;&amp;" in traced.render("mermaid")
    assert r"a\"b<c>&\\" in traced.render("dot")
    texts = ElementTree.fromstring(traced.render("svg")).itertext()
    assert f"d.{name}" in list(texts)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Return whether two rectangles (x, y, width, height) share a point."""
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def wide(x: Array) -> Array:
    """Return something with long edges and many readers."""
    terms = [jnp.sin(k * x) for k in range(1, 7)]
    return sum((a * b for a, b in itertools.pairwise(terms)), x) * terms[0]


@pytest.mark.parametrize("function", [lambda x: block(x, x), wide], ids=["block", "wide"])
def test_boxes_keep_apart_and_hold_their_text(function: object) -> None:
    assert callable(function)
    traced = graph(lambda x: function(x), jnp.float32(0.3)).open()
    page = scene(traced)
    boxes = page.boxes[: len(traced.nodes)]
    for a, b in itertools.combinations(boxes, 2):
        assert not overlap(a[:4], b[:4])
    for box in page.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= page.width
        assert box.y + box.height <= page.height
    for text in page.texts:
        width = 0.6 * FONT_SIZE * len(text.text)
        around = [b for b in page.boxes if overlap(b[:4], (text.x, text.y, 0.1, 0.1))]
        assert all(width <= box.width for box in around)
        assert 0 <= text.x - width / 2 < text.x + width / 2 <= page.width


def test_arrows_run_from_box_to_box(drawn: Graph) -> None:
    page = scene(drawn)
    boxes = dict(zip((node.name for node in drawn.nodes), page.boxes, strict=False))
    for edge, curve in zip(drawn.edges, page.curves, strict=True):
        for name, (x, y) in ((edge.source, curve.points[0]), (edge.target, curve.points[-1])):
            box = boxes[name]
            assert overlap(box[:4], (x - 0.01, y - 0.01, 0.02, 0.02))


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.floats(1, 50), min_size=1, max_size=12),
    ends=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20),
)
def test_a_layout_goes_forward_and_nothing_touches(
    sizes: list[float], ends: list[tuple[int, int]]
) -> None:
    count = len(sizes)
    links = [(min(a, b), max(a, b)) for a, b in ends if a != b and max(a, b) < count]
    layout = layered(sizes, links, gap=5.0)
    layer_of = {item: k for k, layer in enumerate(layout.layers) for item in layer}
    for (source, target), route in zip(links, layout.routes, strict=True):
        assert (route[0], route[-1]) == (source, target)
        assert [layer_of[item] for item in route] == list(
            range(layer_of[source], layer_of[target] + 1)
        )
    for layer in layout.layers:
        for a, b in itertools.pairwise(layer):
            half = (sizes[a] if a < count else 0) / 2 + (sizes[b] if b < count else 0) / 2
            assert layout.places[b] - layout.places[a] >= half + 5 - 1e-6


def test_a_layout_uncrosses_what_can_be() -> None:
    # As given, the links of 0..3 to 4..7 all cross.
    layout = layered([1.0] * 8, [(i, 7 - i) for i in range(4)], gap=1.0)
    places = layout.places
    assert [places[i] < places[i + 1] for i in range(3)] == [
        places[7 - i] < places[6 - i] for i in range(3)
    ]


def test_a_long_chain_turns_to_fit_a_page() -> None:
    def chain(x: Array) -> Array:
        for _ in range(12):
            x = jnp.sin(x)
        return x

    long, short = (scene(graph(f, jnp.float32(1))) for f in (chain, lambda x: jnp.sin(x)))
    assert long.height > long.width
    assert short.width > short.height


@pytest.mark.parametrize("name", ["g.txt", "g.mmd", "g.dot", "g.svg", "g.PNG"])
def test_files_are_written_in_the_format_of_their_name(
    drawn: Graph, tmp_path: Path, name: str
) -> None:
    drawn.save(tmp_path / name)
    (path,) = tmp_path.iterdir()
    starts = {".txt": b"node", ".mmd": b"flowchart", ".dot": b"digraph", ".svg": b"<svg"}
    assert path.read_bytes().startswith(starts.get(path.suffix, b"\x89PNG"))


def test_a_png_shows_what_the_svg_shows(drawn: Graph, tmp_path: Path) -> None:
    from matplotlib.image import imread

    drawn.save(tmp_path / "g.png")
    image = imread(tmp_path / "g.png")
    page = scene(drawn)
    np.testing.assert_allclose(image.shape[1] / image.shape[0], page.width / page.height, rtol=0.01)
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 20  # the text's several colours


def test_a_notebook_gets_the_svg(drawn: Graph) -> None:
    assert drawn._repr_svg_() == drawn.render("svg")
    assert re.match(r'<svg xmlns="[^"]*" viewBox="0 0 \d+ \d+"', drawn._repr_svg_())


def test_unknown_formats_are_named(drawn: Graph, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fmt: expected one of text, mermaid, dot, svg, got 'gif'"):
        drawn.render("gif")
    with pytest.raises(ValueError, match=r"path: expected a name ending in \.txt.*g\.gif"):
        drawn.save(tmp_path / "g.gif")
