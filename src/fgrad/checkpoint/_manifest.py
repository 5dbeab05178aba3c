"""A folder that tells whether every file in it is as it was written, and is on the disk."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fgrad.files import open_regular

NAME: Final = "manifest.json"


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what a folder holds, and wait until all of it is on the disk.

    Args:
        folder: The folder, its files written.
        facts: What else to keep, as JSON can hold it.
    """
    files = {name: _fingerprint(folder / name) for name in _files(folder)}
    (folder / NAME).write_text(json.dumps(_signed({**facts, "files": files}), indent=1))
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(os.path.join(root, name), "rb+") as file:  # Windows flushes no other
                os.fsync(file.fileno())
        flush(Path(root))


def read(folder: Path) -> dict[str, Any]:
    """Return what was kept, if the manifest and every file are as they were written.

    Args:
        folder: The folder.

    Returns:
        The facts, and `files`.

    Raises:
        ValueError: If a file is missing, cut short, altered, or another is there.
        OSError: If one cannot be read.
    """
    facts = _facts(folder)
    expected, found = facts["files"], _files(folder)
    for name in sorted({*expected, *found}):
        if name not in found:
            raise ValueError(f"{name} is missing")
        if name not in expected:
            raise ValueError(f"{name} was added")
        size, checksum = _fingerprint(folder / name)
        if size != expected[name][0]:
            raise ValueError(f"{name} has {size} bytes in place of {expected[name][0]}")
        if checksum != expected[name][1]:
            raise ValueError(f"{name} was altered")
    return facts


def owns(folder: Path) -> bool:
    """Return whether a folder is of `write`'s making alone, and so may be deleted.

    Args:
        folder: The folder.

    Returns:
        Whether it has a manifest as `write` left it, and no file that the manifest does not name:
        what somebody else put there is theirs. Files may be damaged or missing.
    """
    try:
        return set(_files(folder)) <= set(_facts(folder)["files"])
    except (ValueError, OSError):
        return False


def flush(folder: Path) -> None:
    """Wait until a folder's own entries are on the disk."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _facts(folder: Path) -> dict[str, Any]:
    """Return what the manifest says, if it is as it was written."""
    try:
        with open_regular(folder / NAME) as file:
            manifest = json.loads(file.read())
        unsigned = {name: value for name, value in manifest.items() if name != "sha256"}
    except FileNotFoundError:
        raise ValueError(f"{NAME} is missing") from None
    except (ValueError, AttributeError, RecursionError):  # no JSON, or no object
        raise ValueError(f"{NAME} was cut short or altered") from None
    if _signed(unsigned) != manifest:
        raise ValueError(f"{NAME} was altered")
    files = unsigned.get("files")
    if not isinstance(files, dict) or not all(map(_is_fingerprint, files.values())):
        raise ValueError(f"{NAME} lacks the sizes and checksums of files")
    return unsigned


def _is_fingerprint(value: object) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [int, str]


def _files(folder: Path) -> list[str]:
    """Return the names of all files below a folder but the manifest."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(name.as_posix() for name in names if name != Path(NAME))


def _fingerprint(path: Path) -> list[Any]:
    with open_regular(path) as file:
        data = file.read()
    return [len(data), hashlib.sha256(data).hexdigest()]


def _signed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with its own checksum."""
    text = json.dumps(manifest, sort_keys=True)
    return {**manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}
