"""Files that others made, read with no more memory than what they hold and may hold."""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from fgrad.files import open_regular

# Read at a time: what is asked for at once is allocated at once, whatever the file holds.
_CHUNK = 2**20

# Of a gzipped file, which may be several members in a row, each with little or nothing in it.
_PIECE = 2**14
_MEMBERS = 10_000


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
        with open_regular(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a file that can be read, got {reason(error)}"
        ) from error


class Unpacked:
    """What a gzipped file holds, as Python's `gzip` reads it, but never for long without data.

    Args:
        file: The file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Start before the first member."""
        self._file = file
        self._members = 0
        self._member: Any = None  # zlib names no type for it
        self._checksum = self._size = 0

    def read(self, size: int) -> bytes:
        """Return 1 to `size` bytes, or none at the end."""
        while self._member is not None or self._begin():
            packed = self._member.unconsumed_tail or self._file.read(_PIECE)
            data: bytes = self._member.decompress(packed, size)
            self._checksum = zlib.crc32(data, self._checksum)
            self._size += len(data)
            if self._member.eof:
                self._end()
            elif not packed:
                raise EOFError("gzipped data that is cut short")
            if data:
                return data
        return b""

    def _begin(self) -> bool:
        """Read a member's header, after padding; return whether there is one."""
        while not (piece := self._piece()).strip(b"\0"):  # a tape's padding
            if not piece:
                return False
        self._file.seek(-len(piece.lstrip(b"\0")), os.SEEK_CUR)
        magic, method, flags = struct.unpack("<HBB", self._exactly(10)[:4])
        if (magic, method) != (0x8B1F, zlib.DEFLATED):
            raise EOFError("no gzip member after another")
        if flags & 4:  # the fields have no use here, and the header's own checksum is not checked
            self._exactly(int.from_bytes(self._exactly(2), "little"))
        for flag in (8, 16):  # the file's name, and a comment
            if flags & flag:
                text, end, rest = self._file.read(_PIECE).partition(b"\0")
                if not end:
                    raise EOFError(f"a name of {len(text):,} bytes and more in gzip's header")
                self._file.seek(-len(rest), os.SEEK_CUR)
        if flags & 2:
            self._exactly(2)
        self._member = zlib.decompressobj(-zlib.MAX_WBITS)  # the bare data
        self._checksum = self._size = 0
        return True

    def _end(self) -> None:
        """Read the end of a member: its data's checksum and size."""
        self._file.seek(-len(self._member.unused_data), os.SEEK_CUR)
        self._member = None
        if struct.unpack("<II", self._exactly(8)) != (self._checksum, self._size % 2**32):
            raise EOFError("gzipped data that is not as it was")

    def _piece(self) -> bytes:
        self._members += 1
        if self._members > _MEMBERS:
            raise EOFError(f"more than {_MEMBERS:,} gzip members, or as much padding")
        return self._file.read(_PIECE)

    def _exactly(self, size: int) -> bytes:
        if len(data := self._file.read(size)) < size:
            raise EOFError("gzipped data that is cut short")
        return data


def unpacked(file: IO[bytes]) -> IO[bytes] | Unpacked:
    """Return a file as it is, or what it holds if it is gzipped, by its first bytes."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return Unpacked(file) if packed else file


def read(file: IO[bytes] | Unpacked, size: int) -> bytearray:
    """Read `size` bytes, or as many as there are."""
    data = bytearray()
    while len(data) < size and (chunk := file.read(min(size - len(data), _CHUNK))):
        data += chunk
    return data


def reason(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
