"""Files that others made, read with no more memory than what they hold and may hold."""

import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

# Read at a time: what is asked for at once is allocated at once, whatever the file holds.
_CHUNK = 2**20


def folder_of(name: str | os.PathLike[str]) -> Path:
    """Return the argument `folder` as a path, if it is a folder."""
    folder = Path(name)
    try:
        if folder.is_dir():
            return folder
        found = "a file" if folder.exists() else "none"
    except OSError as error:
        found = str(error.strerror)
    raise ValueError(f"folder: expected a folder, got {found} at {folder}")


def find(folder: Path, names: Iterable[Iterable[str]]) -> list[Path]:
    """Return the files of a folder, each by the first of its names that is there."""
    found, missing = [], []
    for candidates in names:
        paths = [folder / candidate for candidate in candidates]
        there = [path for path in paths if path.is_file()]
        if there:
            found.append(there[0])
        else:
            missing.append(paths[0].name)
    if missing:
        raise ValueError(f"folder: expected {', '.join(missing)} in {folder}, got none")
    return found


def unpacked(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """Return a file as it is, or what it holds if it is gzipped, by its first bytes."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file, mode="rb") if packed else file


def read(path: Path, file: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """Read `size` bytes, or as many as there are."""
    data = bytearray()
    try:
        while len(data) < size and (chunk := file.read(min(size - len(data), _CHUNK))):
            data += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a file that can be read, got {error}") from error
    return data


def opened(path: Path) -> IO[bytes]:
    """Open a file to read its bytes."""
    try:
        return path.open("rb")
    except OSError as error:
        raise ValueError(
            f"{path}: expected a file that can be read, got {error.strerror}"
        ) from error
