"""Saving and restoring: the folders, and in which order what happens to them."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from fgrad.checkpoint import _arrays, _manifest
from fgrad.types import Params

_PARTIAL: Final = ".partial"
_OLD: Final = f".old{_PARTIAL}"
_ARRAYS: Final = "arrays"  # Orbax's own folder within a checkpoint's
_ROOM: Final = "room"  # the file that shows that there is room for it


class Checkpoint(NamedTuple):
    """What `restore` found.

    Attributes:
        step: The step that it was saved under.
        tree: The arrays, in the structure that was asked for.
        info: What was saved beside them, or None.
        damaged: A line for each later checkpoint that was passed over, and why.
    """

    step: int
    tree: Params
    info: dict[str, Any] | None
    damaged: list[str]


def save(
    folder: str | os.PathLike[str],
    tree: Params,
    *,
    step: int,
    settings: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
    keep: int = 3,
) -> Path:
    """Write a checkpoint, whole or not at all, and drop old ones.

    Checkpoints of a later step are dropped as well: they are of a run that was left. Whatever is in
    the folder and no checkpoint, by its manifest, is left alone.

    Args:
        folder: Where the checkpoints are, made if it is not there.
        tree: A pytree of arrays, JAX's, their random keys among them, or NumPy's; no empty ones.
        step: The number to save it under, 0 or more: the greatest one is the latest.
        settings: What the run was started with, as JSON can hold it, for `restore` to compare.
        info: Anything else to get back, as JSON can hold it.
        keep: How many checkpoints to keep, 1 or more.

    Returns:
        The checkpoint's own folder.

    Raises:
        ImportError: If Orbax is not installed.
        ValueError: If `step` or `keep` is too small, `tree` has no leaves or one that is no array
            or empty, or `settings` or `info` is nothing that JSON can hold.
        OSError: If it cannot be written, or its name is taken by what is no checkpoint; nothing of
            it is left behind then, and the checkpoints that are there stay.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save(folder, {"w": jnp.float32(2.0)}, step=7, info={"epoch": 1})
        ...     found = restore(folder, {"w": jnp.float32(0.0)})
        >>> print(path.name, found.step, found.tree["w"], found.info)
        0000000007 7 2.0 {'epoch': 1}
    """
    for name, value, least in (("step", step, 0), ("keep", keep, 1)):
        if value < least:
            raise ValueError(f"{name}: expected {least} or more, got {value}")
    arrays = _arrays.describe("tree", tree)
    for name, (shape, _) in arrays.items():
        if 0 in shape:
            raise ValueError(f"tree: expected no empty array, got {name} of shape {tuple(shape)}")
    facts = {"step": step, "settings": settings, "info": info, "arrays": arrays}
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings, info: expected what JSON can hold: {error}") from None

    folder = Path(folder).resolve()
    target = folder / _name(step)
    partial, old = folder / f".{target.name}{_PARTIAL}", folder / f".{target.name}{_OLD}"
    for path in (target, partial, old):
        if os.path.lexists(path) and not (_manifest.owns(path) or _is_left(path)):
            raise OSError(
                f"cannot write the checkpoint {target}: {path} is something else, or damaged "
                "beyond telling; move it away"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for saved, path in _own(folder).items():
            if path.name.endswith(_OLD):  # the one that moved it was killed before the end
                path.rename(folder / _name(saved))
        for left in filter(_is_left, folder.iterdir()):  # of a process that was killed
            shutil.rmtree(left)
        partial.mkdir()
        _arrays.find_room(partial / _ROOM, tree)
        _arrays.write(partial / _ARRAYS, tree)
        _manifest.write(partial, facts)
        if target.exists():  # a damaged one, and the run came by again
            target.rename(old)
        partial.rename(target)
        _manifest.flush(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = error.strerror or error
        raise OSError(f"cannot write the checkpoint {target}: {reason}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    found = _own(folder)
    kept = [saved for saved in found if saved <= step][:keep]
    for saved, path in found.items():
        if saved not in kept:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return target


def restore(
    folder: str | os.PathLike[str], like: Params, *, settings: Mapping[str, Any] | None = None
) -> Checkpoint:
    """Read the latest checkpoint that is whole.

    Nothing in the folder is changed. While another process saves there, what was found may be gone
    when it is read.

    Args:
        folder: Where the checkpoints are.
        like: A pytree of the structure, shapes and dtypes to expect: the run's first state.
        settings: What this run was started with: it must be what the checkpoint's was. Not
            compared if not given.

    Returns:
        The checkpoint, every number of it to the bit; a leaf is a JAX array on the device where
        `like`'s is, or a NumPy array, as `like`'s is.

    Raises:
        ValueError: If there is no checkpoint, or none that is whole, or the latest that is has
            other settings or other arrays, all of them listed.
        OSError: If `folder` cannot be read.
        ImportError: If Orbax is not installed.

    Example:
        See `save`.
    """
    folder = Path(folder).resolve()
    damaged = []
    for step, path in _checkpoints(folder).items():
        try:
            facts = _manifest.read(path)
            _check_facts(facts)
        except (ValueError, OSError) as error:
            damaged.append(f"checkpoint {_name(step)} is damaged: {error}")
            continue
        _check_settings(facts["settings"], settings)
        _arrays.check(facts["arrays"], _arrays.describe("like", like))
        try:
            tree = _arrays.read(path / _ARRAYS, like)
        except (ValueError, KeyError, TypeError, OSError) as error:  # whole, but not Orbax's
            reason = str(error).partition("\n")[0]
            damaged.append(f"checkpoint {_name(step)} is damaged: its arrays: {reason}")
            continue
        return Checkpoint(facts["step"], tree, facts["info"], damaged)
    found = "; ".join(damaged) if damaged else "there is none"
    raise ValueError(f"folder: expected a checkpoint in {folder}: {found}")


def exists(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a checkpoint that was written to its end, damaged since or not.

    Args:
        folder: Where the checkpoints are, or would be.

    Returns:
        Whether there is one. What a killed process left half-written is none.

    Raises:
        OSError: If `folder` cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exists(folder)
        False
    """
    found = _checkpoints(Path(folder).resolve()).values()
    return any((path / name).exists() for path in found for name in (_manifest.NAME, _ARRAYS))


def _name(step: int) -> str:
    """Return the name of a checkpoint's own folder."""
    return f"{step:010d}"


def _is_name(name: str) -> bool:
    """Return whether a folder's name is a checkpoint's."""
    return name.isdecimal() and name == _name(int(name))


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Return where the checkpoints are, the latest step first.

    One that `save` has moved away, the new one not being there yet, counts where it lies now.
    """
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:  # one look: another process may be moving them
        names = {entry.name for entry in entries if entry.is_dir()}
    moved = {name[1:].removesuffix(_OLD): name for name in names if name.endswith(_OLD)}
    found = moved | {name: name for name in names}
    steps = sorted((int(name) for name in found if _is_name(name)), reverse=True)
    return {step: folder / found[_name(step)] for step in steps}


def _own(folder: Path) -> dict[int, Path]:
    """Return the checkpoints that `save` may move and delete: those that are surely its own."""
    return {step: path for step, path in _checkpoints(folder).items() if _manifest.owns(path)}


def _is_left(path: Path) -> bool:
    """Return whether a folder is what a `save` that was killed left, by its name and contents."""
    name = path.name.removesuffix(_PARTIAL).removesuffix(_OLD.removesuffix(_PARTIAL))
    if not path.name.endswith(_PARTIAL) or name[:1] != "." or not _is_name(name[1:]):
        return False
    if path.is_symlink() or not path.is_dir():
        return False
    # Orbax writes into `arrays` with an ending of its own before it takes the name.
    return all(
        entry in (_ROOM, _manifest.NAME) or entry.startswith(_ARRAYS) for entry in os.listdir(path)
    )


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Raise if a manifest, whole as it is, is not one that `save` wrote."""
    arrays = facts.get("arrays")
    is_right = {
        "step": type(facts.get("step")) is int,
        "settings": isinstance(facts.get("settings", ()), dict | None),
        "info": isinstance(facts.get("info", ()), dict | None),
        "arrays": isinstance(arrays, dict)
        and all(
            isinstance(entry, list) and list(map(type, entry)) == [list, str]
            for entry in arrays.values()
        ),
    }
    if wrong := [name for name, right in is_right.items() if not right]:
        raise ValueError(f"{_manifest.NAME} lacks the right {', '.join(wrong)}")


def _check_settings(saved: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> None:
    if given is None:
        return
    saved, given = saved or {}, json.loads(json.dumps(given))
    differences = [
        f"expected {name} {json.dumps(saved.get(name))} as in the checkpoint, "
        f"got {json.dumps(given.get(name))}"
        for name in sorted({*saved, *given})
        if saved.get(name) != given.get(name)
    ]
    if differences:
        raise ValueError(f"settings: {'; '.join(differences)}")
