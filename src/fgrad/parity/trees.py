"""Tensors in tuples and dicts, as a flat list and a description that JSON can hold."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

Tree: TypeAlias = Any
"""Tensors in nested tuples and dicts."""

Spec: TypeAlias = Any
"""`"tensor"`, None for what is no tensor, or `{"tuple": [...]}` or `{"dict": {...}}` of these."""


def flatten(value: object, is_tensor: Callable[[object], bool]) -> tuple[list[Any], Spec]:
    """Return the tensors of nested tuples, lists and dicts, and where they stand.

    Args:
        value: The tensors.
        is_tensor: What counts as one; everything else that is no tuple, list or dict is left out.

    Returns:
        The tensors in order, and what `unflatten` needs.

    Example:
        >>> flatten((1, {"a": 2}), lambda value: isinstance(value, int))
        ([1, 2], {'tuple': ['tensor', {'dict': {'a': 'tensor'}}]})
    """
    if is_tensor(value):
        return [value], "tensor"
    if isinstance(value, Mapping):
        parts = {str(key): flatten(part, is_tensor) for key, part in value.items()}
        spec: Spec = {"dict": {key: spec for key, (_, spec) in parts.items()}}
        return [leaf for leaves, _ in parts.values() for leaf in leaves], spec
    if isinstance(value, tuple | list):
        items = [flatten(part, is_tensor) for part in value]
        return [leaf for leaves, _ in items for leaf in leaves], {"tuple": [s for _, s in items]}
    return [], None


def unflatten(leaves: Iterator[Any], spec: Spec) -> Tree:
    """Return what `flatten` took apart, its tensors replaced by `leaves` in order.

    Args:
        leaves: The new leaves.
        spec: From `flatten`.

    Returns:
        Tuples and dicts of the leaves; lists come back as tuples.

    Example:
        >>> unflatten(iter([1, 2]), {"tuple": ["tensor", {"dict": {"a": "tensor"}}]})
        (1, {'a': 2})
    """
    if spec == "tensor":
        return next(leaves)
    if spec is None:
        return None
    if "dict" in spec:
        return {key: unflatten(leaves, part) for key, part in spec["dict"].items()}
    return tuple(unflatten(leaves, part) for part in spec["tuple"])
