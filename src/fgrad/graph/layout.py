"""Where the boxes of a layered graph go: layers, an order with few crossings, places.

The method is Sugiyama's. Every link leads from one layer to the next, a long one through way
points; the order within the layers is swept until the crossings no longer fall; then every box goes
as near to its neighbours as the boxes beside it allow.
"""

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Link: TypeAlias = tuple[int, int]

_ORDER_SWEEPS = 12
_PLACE_SWEEPS = 16
_LEAF_PULL = 0.02  # a path stays straight while the inputs beside it give way


class Layout(NamedTuple):
    """Where everything goes.

    Attributes:
        layers: The items of each layer, in order. Items past the last box are way points.
        places: The middle of each item along its layer.
        routes: The items that each link passes, from end to end.
    """

    layers: list[list[int]]
    places: list[float]
    routes: list[list[int]]


def layered(sizes: Sequence[float], links: Sequence[Link], *, gap: float) -> Layout:
    """Lay a graph out in layers.

    Args:
        sizes: The size of each box along its layer.
        links: Pairs of boxes, from a lower index to a higher one.
        gap: The room between two items of a layer.

    Returns:
        The layout.

    Example:
        >>> layout = layered([10.0, 10.0, 10.0], [(0, 2), (1, 2)], gap=5.0)
        >>> layout.layers, layout.places
        ([[0, 1], [2]], [-7.5, 7.5, 0.0])
    """
    layer_of = _layers(len(sizes), links)
    sizes = list(sizes)
    routes = []
    for source, target in links:
        between = range(layer_of[source] + 1, layer_of[target])
        way_points = range(len(sizes), len(sizes) + len(between))
        sizes += [gap / 2] * len(between)
        layer_of += between
        routes.append([source, *way_points, target])
    hops = [hop for route in routes for hop in itertools.pairwise(route)]
    before: list[list[int]] = [[] for _ in sizes]
    after: list[list[int]] = [[] for _ in sizes]
    for source, target in hops:
        before[target].append(source)
        after[source].append(target)
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for item, layer in enumerate(layer_of):
        layers[layer].append(item)
    layers = _ordered(layers, before, after)
    return Layout(layers, _placed(layers, sizes, before, after, gap), routes)


def _layers(count: int, links: Sequence[Link]) -> list[int]:
    """Put every box after those that it is linked from, and late where that stretches nothing."""
    layer_of = [0] * count
    sources: list[list[int]] = [[] for _ in range(count)]
    readers: list[list[int]] = [[] for _ in range(count)]
    for source, target in sorted(links, key=lambda link: link[1]):
        layer_of[target] = max(layer_of[target], layer_of[source] + 1)
        sources[target].append(source)
        readers[source].append(target)
    for box in reversed(range(count)):
        if readers[box] and len(sources[box]) <= len(readers[box]):
            layer_of[box] = min(layer_of[reader] for reader in readers[box]) - 1
    return layer_of


def _ordered(
    layers: list[list[int]], before: list[list[int]], after: list[list[int]]
) -> list[list[int]]:
    """Sort each layer by its neighbours' mean position, down and up, and keep the best seen."""
    best, fewest = layers, _crossings(layers, after)
    for sweep in range(_ORDER_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        neighbours = before if down else after
        layers = [list(layer) for layer in layers]
        position = {item: i for layer in layers for i, item in enumerate(layer)}
        for layer in layers if down else layers[::-1]:
            means = {
                item: sum(position[other] for other in near) / len(near) if near else position[item]
                for item, near in zip(layer, (neighbours[item] for item in layer), strict=True)
            }
            layer.sort(key=means.__getitem__)
            position.update((item, i) for i, item in enumerate(layer))
        if (crossings := _crossings(layers, after)) < fewest:
            best, fewest = layers, crossings
    return best


def _crossings(layers: list[list[int]], after: list[list[int]]) -> int:
    position = {item: i for layer in layers for i, item in enumerate(layer)}
    total = 0
    for layer in layers:
        seen: list[int] = []
        for item in layer:
            ends = sorted(position[target] for target in after[item])
            total += sum(len(seen) - bisect.bisect_right(seen, end) for end in ends)
            for end in ends:
                bisect.insort(seen, end)
    return total


def _placed(
    layers: list[list[int]],
    sizes: Sequence[float],
    before: list[list[int]],
    after: list[list[int]],
    gap: float,
) -> list[float]:
    places = [0.0] * len(sizes)
    pulls = [1.0 if before[item] else _LEAF_PULL for item in range(len(sizes))]
    for sweep in range(_PLACE_SWEEPS + 1):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            wanted = []
            for item in layer:
                # Looking one way spreads a change along; the last sweep balances both.
                near = before[item] if down else after[item]
                if sweep == _PLACE_SWEEPS or not near:
                    near = before[item] + after[item]
                weight = sum(pulls[other] for other in near)
                mean = sum(pulls[other] * places[other] for other in near)
                wanted.append(mean / weight if near else places[item])
            spans = [sizes[item] for item in layer]
            settled = _settled(wanted, [pulls[item] for item in layer], spans, gap)
            for item, place in zip(layer, settled, strict=True):
                places[item] = place
    return places


def _settled(
    wanted: list[float], weights: list[float], sizes: list[float], gap: float
) -> list[float]:
    """Return the places nearest to those wanted, by least squares, that keep order and distance.

    With the distances taken off this is isotonic regression: where two are in the wrong order, both
    go to their weighted mean.
    """
    distances = [(a + b) / 2 + gap for a, b in itertools.pairwise(sizes)]
    offsets = [0.0, *itertools.accumulate(distances)]
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, other_weight, other_count = blocks.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        blocks.append((mean, weight, count))
    means = itertools.chain.from_iterable([mean] * count for mean, _, count in blocks)
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
