"""Files that others made, read with no more memory than what they hold and may hold."""

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

# Read at a time: what is asked for at once is allocated at once, whatever the file holds.
_CHUNK = 2**20


def folder_of(name: str | os.PathLike[str]) -> Path:
    """Return the argument `folder` as a path, if it is a folder that can be looked into."""
    folder = Path(name)
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        found = "none"
    except NotADirectoryError:
        found = "a file"
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        found = reason(error)
    else:
        return folder
    raise ValueError(f"folder: expected a folder, got {found} at {folder}")


def find(folder: Path, names: Iterable[Iterable[str]]) -> list[Path]:
    """Return the files of a folder, each by the first of its names that is there."""
    found, missing = [], []
    for candidates in names:
        paths = [folder / candidate for candidate in candidates]
        there = [path for path in paths if os.path.isfile(path)]
        if there:
            found.append(there[0])
        else:
            missing.append(paths[0].name)
    if missing:
        raise ValueError(f"folder: expected {', '.join(missing)} in {folder}, got none")
    return found


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes; whatever is wrong with it is a ValueError."""
    try:
        with path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a file that can be read, got {reason(error)}"
        ) from error


def unpacked(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """Return a file as it is, or what it holds if it is gzipped, by its first bytes."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file, mode="rb") if packed else file


def read(file: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """Read `size` bytes, or as many as there are."""
    data = bytearray()
    while len(data) < size and (chunk := file.read(min(size - len(data), _CHUNK))):
        data += chunk
    return data


def reason(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
