"""The arrays of a checkpoint: what they are, written and read by Orbax."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgrad.data import _optional
from fgrad.types import ArrayLike, Params


def describe(argument: str, tree: Params) -> dict[str, list[Any]]:
    """Return shape and dtype of every array by its dotted name, in JSON's types."""
    described = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(f"{argument}: expected arrays, got {type(leaf).__name__} at {name}")
        described[name] = [list(leaf.shape), str(leaf.dtype)]
    if not described:
        raise ValueError(f"{argument}: expected a pytree with at least one array, got an empty one")
    return described


def _plain(leaf: ArrayLike) -> ArrayLike:
    """Return a random key's own numbers, and any other array as it is."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def find_room(path: Path, tree: Params) -> None:
    """Raise if the disk cannot hold the arrays: Orbax would, after a page of log to stderr."""
    needed = sum(_plain(leaf).nbytes for leaf in jax.tree.leaves(tree))
    with path.open("wb") as file:
        # Written, not only asked for: a quota counts what is there. A quarter more for its names.
        for start in range(0, left := needed * 5 // 4 + 2**18, 2**20):
            file.write(bytes(min(2**20, left - start)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def write(path: Path, tree: Params) -> None:
    """Have Orbax write the arrays; whatever goes wrong is an OSError, as they were checked."""
    orbax = _optional.load("orbax.checkpoint")
    try:
        with orbax.Checkpointer(orbax.StandardCheckpointHandler()) as writer:
            writer.save(path, jax.tree.map(_plain, tree))
    except OSError:
        raise
    except Exception as error:  # TensorStore reports a full disk as a ValueError, with its source
        raise OSError(str(error).partition(" [")[0]) from error


def read(path: Path, like: Params) -> Params:
    """Have Orbax read the arrays, each to where `like` has it."""

    def wanted(leaf: ArrayLike) -> np.ndarray[Any, Any] | jax.ShapeDtypeStruct:
        plain = _plain(leaf)
        if isinstance(plain, np.ndarray):
            return plain
        return jax.ShapeDtypeStruct(plain.shape, plain.dtype, sharding=plain.sharding)

    def wrapped(leaf: ArrayLike, read: ArrayLike) -> ArrayLike:
        if _plain(leaf) is leaf:
            return read
        return jax.random.wrap_key_data(jnp.asarray(read), impl=str(jax.random.key_impl(leaf)))

    orbax = _optional.load("orbax.checkpoint")
    with orbax.Checkpointer(orbax.StandardCheckpointHandler()) as reader:
        read = reader.restore(path, jax.tree.map(wanted, like))
    return jax.tree.map(wrapped, like, read)


def check(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    def words(entry: list[Any] | None) -> str:
        return f"{entry[1]} of shape {tuple(entry[0])}" if entry else "none"

    differences = [
        f"expected {name} {words(expected.get(name))}, got {words(saved.get(name))}"
        for name in sorted({*saved, *expected})
        if saved.get(name) != expected.get(name)
    ]
    if differences:
        raise ValueError(f"like: {'; '.join(differences)}")
