"""Which array of a port goes with which entry of PyTorch's, from names, kinds and shapes."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from fgrad.parity.recording import NumPy

Transform: TypeAlias = Callable[[NumPy], NumPy]

_WRAPPERS = {"params", "value", "raw_value", "batch_stats"}
_RENAMED = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "gamma": "weight",
    "w": "weight",
    "beta": "bias",
    "b": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# Flax's own names for layers that were given none, and PyTorch's classes.
_FAMILIES = {
    "Dense": ("Linear",),
    "Conv": ("Conv1d", "Conv2d", "Conv3d"),
    "ConvTranspose": ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
    "LayerNorm": ("LayerNorm",),
    "RMSNorm": ("RMSNorm",),
    "GroupNorm": ("GroupNorm",),
    "BatchNorm": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
    "Embed": ("Embedding",),
}


class Leaf(NamedTuple):
    """An array of a port: its path with dots, and its shape."""

    path: str
    shape: tuple[int, ...]


def pair(
    argument: str,
    leaves: Sequence[Leaf],
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, str],
    *,
    any_name: bool = False,
) -> tuple[dict[str, tuple[str, Transform]], list[str]]:
    """Pair a port's arrays with PyTorch's entries.

    First by name, `kernel` and the like being `weight`; then, for what is left, whole layers in
    their order, where their shapes fit one to one.

    Args:
        argument: What an error calls the port's arrays.
        leaves: The port's arrays.
        shapes: PyTorch's entries.
        kinds: The classes of PyTorch's modules, by name.
        any_name: Whether names do not count: for one array and one entry.

    Returns:
        For each path the entry's name and what makes the array of it; and what was guessed.

    Raises:
        ValueError: If something is left over, or a shape does not fit.

    Example:
        >>> paired, _ = pair("params", [Leaf("fc.kernel", (3, 2))], {"fc.weight": (2, 3)}, {})
        >>> paired["fc.kernel"][0]
        'fc.weight'
    """
    notes: list[str] = []
    found: dict[str, str] = {}
    if any_name:
        found = {leaf.path: name for leaf, name in zip(leaves, shapes, strict=True)}
    else:
        found = _by_name(leaves, shapes)
        rest = [leaf for leaf in leaves if leaf.path not in found]
        left = {name: shape for name, shape in shapes.items() if name not in found.values()}
        found |= _by_order(rest, left, kinds, notes)
    missing = [name for name in shapes if name not in found.values()]
    extra = [leaf.path for leaf in leaves if leaf.path not in found]
    if missing or extra:
        lines = [f"missing: {name} of shape {shapes[name]}" for name in missing]
        lines += [
            f"extra: {leaf.path} of shape {leaf.shape}" for leaf in leaves if leaf.path in extra
        ]
        raise ValueError(
            "\n  ".join(
                [f"{argument}: expected the entries of the recording, got differences", *lines]
            )
            + "\n  mapping={'path in the port': 'name in PyTorch'} pairs what no rule does"
        )
    return _transforms(argument, leaves, shapes, kinds, found, notes), notes


def tokens(path: str) -> list[str]:
    """Return a path's parts, without those that only wrap.

    Example:
        >>> tokens("params.layers[0].kernel.value")
        ['layers', '0', 'kernel']
    """
    parts = re.split(r"[.\[\]'\"/]+", path)
    return [part for part in parts if part and part not in _WRAPPERS]


def _by_name(leaves: Iterable[Leaf], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Pair where the names are the same, or the same after renaming, and no other is."""
    found: dict[str, str] = {}
    for rename in (False, True):
        ours: dict[str, list[str]] = {}
        for leaf in leaves:
            if leaf.path not in found:
                parts = tokens(leaf.path)
                if rename and parts:
                    parts[-1] = _RENAMED.get(parts[-1].lower(), parts[-1])
                ours.setdefault("_".join(parts).lower(), []).append(leaf.path)
        theirs: dict[str, list[str]] = {}
        for name in shapes:
            if name not in found.values():
                theirs.setdefault(name.replace(".", "_").lower(), []).append(name)
        for key, paths in ours.items():
            if len(paths) == 1 and len(theirs.get(key, ())) == 1:
                found[paths[0]] = theirs[key][0]
    return found


def _by_order(
    leaves: Sequence[Leaf],
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, str],
    notes: list[str],
) -> dict[str, str]:
    """Pair layers in order: those of one kind where the port's names say the kind, else all."""
    ours = _groups((leaf.path, leaf) for leaf in leaves)
    theirs = _groups((name, Leaf(name, shape)) for name, shape in shapes.items())
    families: dict[tuple[str, ...] | None, list[str]] = {}
    for group in sorted(ours, key=_natural):
        family = re.fullmatch(r"([A-Z][A-Za-z]*)_\d+", (tokens(group) or [""])[-1])
        families.setdefault(_FAMILIES.get(family[1]) if family else None, []).append(group)
    found: dict[str, str] = {}
    for family_kinds, groups in families.items():
        candidates = [
            name for name in theirs if family_kinds is None or kinds.get(name) in family_kinds
        ]
        if len(candidates) != len(groups):
            continue
        pairs = [
            _within(ours[group], theirs[name])
            for group, name in zip(groups, candidates, strict=True)
        ]
        if all(paired is not None for paired in pairs):
            for paired in pairs:
                found |= paired or {}
            notes.append(
                "paired by their order: "
                + ", ".join(
                    f"{g or 'params'} = {n}" for g, n in zip(groups, candidates, strict=True)
                )
            )
    return found


def _groups(named: Iterable[tuple[str, Leaf]]) -> dict[str, list[Leaf]]:
    """Return the arrays by what their names have before the last part."""
    groups: dict[str, list[Leaf]] = {}
    for name, leaf in named:
        groups.setdefault(name.rpartition(".")[0], []).append(leaf)
    return groups


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts Dense_10 after Dense_2."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _within(ours: Sequence[Leaf], theirs: Sequence[Leaf]) -> dict[str, str] | None:
    """Pair the arrays of one layer by shape and role, if there is one way to."""
    if len(ours) != len(theirs):
        return None
    ways = [
        order
        for order in itertools.islice(itertools.permutations(theirs), 720)
        if all(fits(entry.shape, leaf.shape) for leaf, entry in zip(ours, order, strict=True))
    ]
    if len(ways) > 1:
        by_role = [
            order
            for order in ways
            if all(_role(leaf.path) == _role(e.path) for leaf, e in zip(ours, order, strict=True))
        ]
        ways = by_role or [order for order in ways if list(order) == list(theirs)]
    if len(ways) != 1:
        return None
    return {leaf.path: entry.path for leaf, entry in zip(ours, ways[0], strict=True)}


def _role(path: str) -> str:
    last = (tokens(path) or [""])[-1]
    return _RENAMED.get(last.lower(), last)


def fits(theirs: tuple[int, ...], ours: tuple[int, ...]) -> list[str]:
    """Return the layouts by which an entry of one shape is an array of another.

    Args:
        theirs: PyTorch's shape.
        ours: The port's.

    Returns:
        Among `"same"`, `"transposed"` (the first two axes last, and swapped) and `"reshaped"`
        (axes of size 1 apart).

    Example:
        >>> fits((6, 1, 5, 5), (5, 5, 1, 6)), fits((3, 3), (3, 3)), fits((4,), (4, 1, 1))
        (['transposed'], ['same', 'transposed'], ['reshaped'])
    """
    layouts = ["same"] if ours == theirs else []
    if len(theirs) >= 2 and ours == (*theirs[2:], theirs[1], theirs[0]):
        layouts.append("transposed")
    squeezed = [tuple(size for size in shape if size != 1) for shape in (theirs, ours)]
    if not layouts and squeezed[0] == squeezed[1]:
        layouts.append("reshaped")
    return layouts


def _transforms(
    argument: str,
    leaves: Sequence[Leaf],
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, str],
    found: Mapping[str, str],
    notes: list[str],
) -> dict[str, tuple[str, Transform]]:
    """Choose each array's layout: the only one that fits, or that of its kernel's name or kin."""
    layouts: dict[str, list[str]] = {}
    wrong = []
    for leaf in leaves:
        name = found[leaf.path]
        layouts[leaf.path] = fits(shapes[name], leaf.shape)
        if kinds.get(name.rpartition(".")[0]) == "Embedding":
            layouts[leaf.path] = [each for each in layouts[leaf.path] if each != "transposed"]
        if not layouts[leaf.path]:
            wrong.append(
                f"shape: {leaf.path}, expected that of {name}, {shapes[name]}, got {leaf.shape}"
            )
    if wrong:
        head = f"{argument}: expected the shapes of the recording, got differences"
        raise ValueError("\n  ".join([head, *wrong]))
    kin = {layouts[leaf.path][0] for leaf in leaves if len(layouts[leaf.path]) == 1}
    chosen: dict[str, tuple[str, Transform]] = {}
    for leaf in leaves:
        name, ways = found[leaf.path], layouts[leaf.path]
        layout = ways[0]
        if len(ways) > 1:
            last = (tokens(leaf.path) or [""])[-1]
            many = len(set(leaf.shape)) == 1 and leaf.shape[0] > 1
            if last == "kernel" or (last != "weight" and "transposed" in kin):
                layout = "transposed"
            elif last != "weight" and many:
                notes.append(
                    f"{leaf.path} is square: taken to be {name} as it is, and not transposed; "
                    "mapping= says otherwise"
                )
        chosen[leaf.path] = (name, _rearrange(layout, leaf.shape))
    return chosen


def _rearrange(layout: str, shape: tuple[int, ...]) -> Transform:
    if layout == "transposed":
        return lambda value: np.moveaxis(value, (1, 0), (-2, -1))
    return lambda value: value.reshape(shape)
