"""Which number of the port is which number of PyTorch's, for every one of them.

A mapping keeps, for each array of the port, the PyTorch entries it is made of and at every place
the index of PyTorch's number there. That serves both ways, shows that each number is used once, and
covers what only rearranges: transposes, flattens, a stack of layers, a third of a fused projection.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fgrad.parity.naming import Leaf, pair
from fgrad.parity.recording import NumPy

Rule: TypeAlias = Any
"""`"PyTorch's name"`, or `(name, transform)`, or `((name, ...), transform)`."""

Explicit: TypeAlias = Mapping[str, Rule]
"""Rules by the port's paths."""


class Assignment(NamedTuple):
    """What one array of the port is made of.

    Attributes:
        names: PyTorch's entries.
        where: For each of the array's numbers, where it stands in those entries, flat and one
            after the other.
    """

    names: tuple[str, ...]
    where: NumPy


class ParameterMap(NamedTuple):
    """All arrays of a port, by path.

    Attributes:
        leaves: The port's arrays, in its own order.
        assignments: What each is made of.
        shapes: The shapes of PyTorch's entries.
        notes: What was guessed.
    """

    leaves: tuple[Leaf, ...]
    assignments: tuple[Assignment, ...]
    shapes: dict[str, tuple[int, ...]]
    notes: tuple[str, ...]

    def to_port(self, entries: Mapping[str, NumPy]) -> list[NumPy]:
        """Return the port's arrays, made of PyTorch's entries.

        Args:
            entries: PyTorch's arrays by name.

        Returns:
            As many arrays as there are leaves.
        """
        flat = [
            np.concatenate([np.ravel(entries[name]) for name in assignment.names])
            for assignment in self.assignments
        ]
        return [
            values[assignment.where]
            for values, assignment in zip(flat, self.assignments, strict=True)
        ]

    def to_torch(self, arrays: Sequence[Any]) -> dict[str, NumPy]:
        """Return PyTorch's entries, made of the port's arrays.

        Args:
            arrays: The port's arrays, in the order of the leaves; None for those to leave out.

        Returns:
            Arrays in PyTorch's shapes, in the port's dtypes.
        """
        entries: dict[str, NumPy] = {}
        for assignment, value in zip(self.assignments, arrays, strict=True):
            if value is None:
                continue
            array, start = np.asarray(value), 0
            for name in assignment.names:
                shape = self.shapes[name]
                size = int(np.prod(shape))
                if name not in entries:
                    entries[name] = np.empty(shape, array.dtype)
                inside = (assignment.where >= start) & (assignment.where < start + size)
                if len(assignment.names) == 1:
                    entries[name].reshape(-1)[assignment.where] = array
                else:
                    entries[name].reshape(-1)[assignment.where[inside] - start] = array[inside]
                start += size
        return entries

    def owner(self, prefix: str) -> str | None:
        """Return the PyTorch module that the arrays below a path of the port belong to.

        Args:
            prefix: The path, with dots.

        Returns:
            The module's name, or None if there are no arrays, or several modules.
        """
        owners = {
            name.rpartition(".")[0]
            for leaf, assignment in zip(self.leaves, self.assignments, strict=True)
            if leaf.path.rpartition(".")[0] == prefix
            for name in assignment.names
        }
        return owners.pop() if len(owners) == 1 else None


def make_map(
    argument: str,
    leaves: Sequence[Leaf],
    shapes: Mapping[str, tuple[int, ...]],
    kinds: Mapping[str, str],
    explicit: Explicit,
    flattened: Mapping[str, tuple[int, ...]],
) -> ParameterMap:
    """Find what every array of a port is made of.

    Args:
        argument: What an error calls the port's arrays.
        leaves: The port's arrays.
        shapes: The shapes of PyTorch's entries.
        kinds: The classes of PyTorch's modules, by name.
        explicit: What the user says of some or all.
        flattened: For a Linear that is fed channels-last data, its name and the shape
            (channels, height, width) that PyTorch flattens.

    Returns:
        The mapping.

    Raises:
        ValueError: If an array or an entry is left over, a shape does not fit, or a number is used
            twice or not at all.
    """
    by_path = {leaf.path: leaf for leaf in leaves}
    assignments: dict[str, Assignment] = {}
    for path, value in explicit.items():
        assignments[path] = _explicit(by_path[path], value, shapes)
    used = {name for assignment in assignments.values() for name in assignment.names}
    paired, notes = pair(
        argument,
        [leaf for leaf in leaves if leaf.path not in assignments],
        {name: shape for name, shape in shapes.items() if name not in used},
        kinds,
    )
    for path, (name, transform) in paired.items():
        assignments[path] = Assignment((name,), _permuted(transform, shapes[name]))
    for module, features in flattened.items():
        _reorder(assignments, f"{module}.weight", features, shapes)
    _check_coverage(argument, assignments, shapes)
    return ParameterMap(
        tuple(leaves),
        tuple(assignments[leaf.path] for leaf in leaves),
        dict(shapes),
        tuple(notes),
    )


def _permuted(transform: Callable[[NumPy], NumPy], *shapes: tuple[int, ...]) -> NumPy:
    """Return where the numbers of arrays end up under a transform."""
    blocks, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        blocks.append(np.arange(start, start + size).reshape(shape))
        start += size
    return np.asarray(transform(*blocks))


def _explicit(leaf: Leaf, value: Rule, shapes: Mapping[str, tuple[int, ...]]) -> Assignment:
    at = f"mapping[{leaf.path!r}]"
    names, transform = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    names = (names,) if isinstance(names, str) else names
    words = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    renamed = words and len(names) == 1 and transform is None
    if not (renamed or (words and names and callable(transform))):
        raise ValueError(
            f"{at}: expected a name, (name, function) or ((name, ...), function), got {value!r}"
        )
    if unknown := [name for name in names if name not in shapes]:
        raise ValueError(f"{at}: expected names among {', '.join(shapes)}, got {unknown[0]!r}")
    if transform is None:
        paired, _ = pair(at, [leaf], {names[0]: shapes[names[0]]}, {}, any_name=True)
        transform = paired[leaf.path][1]
    index = _permuted(transform, *(shapes[name] for name in names))
    total = sum(int(np.prod(shapes[name])) for name in names)
    if index.dtype.kind != "i" or (index.size and not 0 <= index.min() <= index.max() < total):
        raise ValueError(f"{at}: expected a function that only rearranges numbers")
    if index.shape != leaf.shape:
        raise ValueError(f"{at}: expected shape {leaf.shape}, the function gives {index.shape}")
    return Assignment(tuple(names), index)


def _reorder(
    assignments: dict[str, Assignment],
    name: str,
    features: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Let a Linear's weight take channels-last data."""
    shape = shapes.get(name, ())
    if len(shape) != 2 or shape[1] != np.prod(features):
        raise ValueError(
            f"flattened: expected a Linear and a shape of as many numbers as it takes, got "
            f"{name.rpartition('.')[0]!r} with {features}"
        )
    order = np.moveaxis(np.arange(shape[1]).reshape(features), 0, -1).ravel()
    table = np.arange(shape[0] * shape[1]).reshape(shape)[:, order].ravel()
    for path, assignment in assignments.items():
        if assignment.names == (name,):
            assignments[path] = assignment._replace(where=table[assignment.where])


def _check_coverage(
    argument: str, assignments: Mapping[str, Assignment], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    counts = {name: np.zeros(int(np.prod(shape)), int) for name, shape in shapes.items()}
    for assignment in assignments.values():
        total = np.concatenate([counts[name] for name in assignment.names])
        np.add.at(total, assignment.where.ravel(), 1)
        splits = np.cumsum([counts[name].size for name in assignment.names])[:-1]
        for name, part in zip(assignment.names, np.split(total, splits), strict=True):
            counts[name] = part
    for name, count in counts.items():
        if (wrong := np.flatnonzero(count != 1)).size:
            index = tuple(map(int, np.unravel_index(wrong[0], shapes[name])))
            raise ValueError(
                f"{argument}: expected every number of {name} once, its number at {index} is there "
                f"{count[wrong[0]]} times"
            )


def join(names: Iterable[str]) -> str:
    """Return names as an error lists them.

    Example:
        >>> join(["a", "b"])
        'a, b'
    """
    return ", ".join(names) or "none"
