"""The figure of a graph as shapes on a page: boxes, curves and texts, each with its place."""

import itertools
from typing import NamedTuple, TypeAlias

from fgrad.graph.layout import layered
from fgrad.graph.nodes import Edge, Graph, Node
from fgrad.graph.text import captions, number

Point: TypeAlias = tuple[float, float]

FONT_SIZE = 13.0
# DejaVu Sans Mono's advance is 0.602 em; other monospaced fonts are as wide or narrower.
_CHARACTER = 0.602 * FONT_SIZE
_LINE = 1.35 * FONT_SIZE
_PADDING = 10.0
_MARGIN = 16.0
_GAP = 18.0
_WIDE = 1600.0  # what a slide still shows at a legible size

INK, MUTED, VALUE, ADJOINT, LOCAL = "#1a1a1a", "#666666", "#0b5cad", "#b3261e", "#8a5300"
_BAD_STROKE, _BAD_FILL = "#c00000", "#fde0dd"
_FILLS = {"input": "#e8f1fb", "constant": "#f2f2f2", "operation": "#ffffff", "scope": "#f4effa"}


class Box(NamedTuple):
    """A rectangle: its upper left corner, its size and its colours."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str
    stroke_width: float
    radius: float


class Text(NamedTuple):
    """A line of text, centred on a point."""

    x: float
    y: float
    text: str
    color: str
    bold: bool = False


class Curve(NamedTuple):
    """A line of cubic Bezier pieces, the first point and three more for each, with an arrowhead."""

    points: list[Point]


class Scene(NamedTuple):
    """Everything on a page, to be drawn in this order: curves, boxes, texts."""

    width: float
    height: float
    curves: list[Curve]
    boxes: list[Box]
    texts: list[Text]


def scene(graph: Graph) -> Scene:
    """Lay a graph out on a page: left to right while that is not too wide, else top to bottom."""
    pages = [_Page(graph, sideways).scene() for sideways in (True, False)]
    return min(pages, key=lambda page: (max(page.width, _WIDE), page.height))


class _Page:
    """A graph being laid out; `along` runs within a layer, `deep` from layer to layer."""

    def __init__(self, graph: Graph, sideways: bool) -> None:
        self.graph = graph
        self.sideways = sideways
        self.lines = [_lines(node) for node in graph.nodes]
        self.sizes = [_size(lines) for lines in self.lines]
        index = {node.name: i for i, node in enumerate(graph.nodes)}
        links = [(index[edge.source], index[edge.target]) for edge in graph.edges]
        spans = [height if sideways else width for width, height in self.sizes]
        self.layout = layered(spans, links, gap=_GAP)
        boxes = range(len(graph.nodes))
        self.low = min((self.layout.places[i] - spans[i] / 2 for i in boxes), default=0.0)
        self.low = min([self.low, *self.layout.places])
        high = max((self.layout.places[i] + spans[i] / 2 for i in boxes), default=0.0)
        self.breadth = max([high, *self.layout.places]) - self.low
        self.starts, self.ends = self._depths()

    def _depths(self) -> tuple[dict[int, float], dict[int, float]]:
        """Return how deep each item's layer starts and ends."""
        labels = [_label(edge) for edge in self.graph.edges]
        widest = max((len(label) * _CHARACTER for label in labels), default=0.0)
        between = widest + 3 * _GAP if self.sideways else 3 * _GAP
        starts, ends, depth = {}, {}, 0.0
        for layer in self.layout.layers:
            thick = max(self._thickness(item) for item in layer)
            for item in layer:
                starts[item] = depth + (thick - self._thickness(item, thick)) / 2
                ends[item] = depth + (thick + self._thickness(item, thick)) / 2
            depth += thick + between
        return starts, ends

    def _thickness(self, item: int, way_point: float = 0.0) -> float:
        if item >= len(self.sizes):
            return way_point
        return self.sizes[item][0 if self.sideways else 1]

    def _point(self, deep: float, along: float) -> Point:
        along += _MARGIN - self.low
        deep += _MARGIN
        return (deep, along) if self.sideways else (along, deep)

    def scene(self) -> Scene:
        """Return the shapes."""
        boxes, texts = [], []
        for i, (node, lines) in enumerate(zip(self.graph.nodes, self.lines, strict=True)):
            middle = (self.starts[i] + self.ends[i]) / 2
            (x, y), (width, height) = self._point(middle, self.layout.places[i]), self.sizes[i]
            boxes.append(_box(node, x, y, width, height, node.name in self.graph.results))
            top = y - height / 2 + _PADDING + _LINE / 2
            texts += [Text(x, top + k * _LINE, *line) for k, line in enumerate(lines)]
        curves = self._curves()
        for edge, curve in zip(self.graph.edges, curves, strict=True):
            if label := _label(edge):
                box, text = _label_on(curve, label, boxes)
                boxes.append(box)
                texts.append(text)
        depth = max(self.ends.values(), default=0.0)
        right, bottom = self._point(depth, self.low + self.breadth)
        legend = _legend(self.graph, _MARGIN, bottom + _MARGIN + _LINE)
        right = max([right, *(text.x + len(text.text) * _CHARACTER / 2 for text in legend)])
        height = bottom + 2 * _MARGIN + 1.5 * _LINE
        return Scene(right + _MARGIN, height, curves, boxes, texts + legend)

    def _curves(self) -> list[Curve]:
        routes, places = self.layout.routes, self.layout.places
        leaving = self._ports([(route[0], places[route[1]]) for route in routes])
        entering = self._ports([(route[-1], places[route[-2]]) for route in routes])
        curves = []
        for route, start, end in zip(routes, leaving, entering, strict=True):
            stops = [(self.ends[route[0]], start)]
            for item in route[1:-1]:  # straight past the boxes of that layer
                stops += [(self.starts[item], places[item]), (self.ends[item], places[item])]
            stops.append((self.starts[route[-1]], end))
            points = [self._point(*stops[0])]
            for (deep, along), (next_deep, next_along) in itertools.pairwise(stops):
                bend = (deep + next_deep) / 2
                piece = [(bend, along), (bend, next_along), (next_deep, next_along)]
                points += [self._point(*stop) for stop in piece]
            curves.append(Curve(points))
        return curves

    def _ports(self, ends: list[tuple[int, float]]) -> list[float]:
        """Spread the links of each box along its side, in the order of where they lead."""
        ports = [0.0] * len(ends)
        by_box: dict[int, list[int]] = {}
        for link, (box, _) in enumerate(ends):
            by_box.setdefault(box, []).append(link)
        for box, links in by_box.items():
            span = self.sizes[box][1 if self.sideways else 0]
            for k, link in enumerate(sorted(links, key=lambda link: ends[link][1]), 1):
                ports[link] = self.layout.places[box] + span * (k / (len(links) + 1) - 0.5)
        return ports


def _lines(node: Node) -> list[tuple[str, str, bool]]:
    about, value, adjoint = captions(node)
    marks = [(f"! {what} not finite", ADJOINT, True) for what in node.bad]
    return [
        (node.name, INK, True),
        *((line, MUTED, False) for line in about),
        (value, VALUE, False),
        (adjoint, ADJOINT, False),
        *marks,
    ]


def _size(lines: list[tuple[str, str, bool]]) -> tuple[float, float]:
    width = max(len(text) for text, _, _ in lines) * _CHARACTER
    return width + 2 * _PADDING, len(lines) * _LINE + 2 * _PADDING


def _box(node: Node, x: float, y: float, width: float, height: float, is_result: bool) -> Box:
    fill, stroke = (_BAD_FILL, _BAD_STROKE) if node.bad else (_FILLS[node.kind], MUTED)
    thick = 2.5 if is_result or node.bad else 1.0
    radius = 14.0 if node.kind in ("input", "constant") else 3.0
    return Box(x - width / 2, y - height / 2, width, height, fill, stroke, thick, radius)


def _label(edge: Edge) -> str:
    return "" if edge.derivative is None else number(edge.derivative, 5)


def _label_on(curve: Curve, label: str, others: list[Box]) -> tuple[Box, Text]:
    """Place a label on its curve, where it covers nothing if there is such a place."""
    width, height = len(label) * _CHARACTER + 4, _LINE

    def box_at(t: float, start: int) -> Box:
        x, y = _bezier(curve.points[start : start + 4], t)
        return Box(x - width / 2, y - height / 2, width, height, "#ffffff", "none", 0.0, 3.0)

    starts = range(len(curve.points) - 4, -1, -6)
    spots = itertools.product((0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8), starts)
    boxes = itertools.starmap(box_at, spots)  # one at a time: the first ones are mostly free
    free = (box for box in boxes if not any(_overlap(box, other) for other in others))
    box = next(free, None) or box_at(0.5, starts[0])
    return box, Text(box.x + width / 2, box.y + height / 2, label, LOCAL)


def _overlap(a: Box, b: Box) -> bool:
    return (
        a.x < b.x + b.width
        and b.x < a.x + a.width
        and a.y < b.y + b.height
        and b.y < a.y + a.height
    )


def _bezier(points: list[Point], t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    x, y = (
        sum(w * point[axis] for w, point in zip(weights, points, strict=True)) for axis in (0, 1)
    )
    return x, y


def _legend(graph: Graph, x: float, y: float) -> list[Text]:
    result = graph.results[0] if len(graph.results) == 1 else "result"
    entries = [
        ("value: forward", VALUE),
        (f"adjoint: d {result} / d node, backward", ADJOINT),
    ]
    if any(map(_label, graph.edges)):
        entries.append(("on an edge: local derivative", LOCAL))
    texts = []
    for text, color in entries:
        width = len(text) * _CHARACTER
        texts.append(Text(x + width / 2, y, text, color))
        x += width + 2 * _GAP
    return texts
