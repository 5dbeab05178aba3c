"""Files that are there whole or not at all, and reading them without ever waiting."""

import contextlib
import errno
import importlib.util
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

_PREFIX: Final = ".fgrad-"
_SUFFIX: Final = ".partial"


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that nobody ever sees a part of it.

    What an earlier call left in the same folder, because its process was killed, is cleared away;
    not on Windows, where no lock tells whether that process is still writing.

    Args:
        path: Where; a file that is there is replaced (through a link, the file that it points to),
            keeps its mode, and stays as it was if anything fails. One that holds `data` already is
            not touched: a disk that is full or cannot be written has no say. What is no regular
            file, such as a FIFO or `/dev/stdout`, is written to.
        data: The file's content.

    Raises:
        OSError: If it cannot be written; nothing is left behind then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "a.txt", b"whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    there = _status(path)
    if there is not None and (stream := _stream(path, there)) is not None:
        _write_to(stream, path, data)
        return
    target = Path(path).resolve()
    _clear(target.parent)
    if there is not None and there.st_size == len(data) and _holds(target, data):
        return
    try:
        with _partial(target.parent) as file:
            if there is not None:
                os.chmod(file.name, stat.S_IMODE(there.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if not has_locks():
                file.close()  # Windows moves no open file
            os.replace(file.name, target)
    except OSError as error:
        # With its own name in place of the hidden one.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file to read its bytes, if it is a regular one: a FIFO would wait for its writer.

    Args:
        path: The file.

    Returns:
        The open file.

    Raises:
        OSError: If it cannot be opened, or is a FIFO, a device or a folder.

    Example:
        >>> open_regular(os.devnull)
        Traceback (most recent call last):
          ...
        OSError: [Errno 22] expected a regular file, got a device or a pipe: '/dev/null'
    """

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder is refused by `open` itself
            os.close(descriptor)
            raise OSError(
                errno.EINVAL, "expected a regular file, got a device or a pipe", os.fspath(path)
            )
        return descriptor

    return open(path, "rb", opener=opener)


def has_locks() -> bool:
    """Return whether the system can lock files and folders; Windows cannot, as is needed here.

    Example:
        >>> has_locks() == (os.name == "posix")
        True
    """
    return importlib.util.find_spec("fcntl") is not None


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder against other processes, until it is closed.

    The system lets go of the lock of a process that is killed. Windows has no such locks: there
    every call succeeds.

    Args:
        descriptor: The open file's.
        wait: Whether to wait until whoever has the lock lets go of it.

    Returns:
        Whether the lock was got.

    Raises:
        OSError: If the file system has no locks.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file, open(file.name) as again:
        ...     lock(file.fileno(), wait=False), lock(again.fileno(), wait=False)
        (True, False)
    """
    if not has_locks():
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _holds(path: Path, data: bytes) -> bool:
    try:
        with open_regular(path) as file:
            return file.read() == data
    except OSError:  # a folder, or one that may not be read
        return False


def _stream(path: str | os.PathLike[str], there: os.stat_result) -> str | int | None:
    """Return what to open to write into what is there; None for what can be replaced."""
    for descriptor in (1, 2):  # by another name, such as /dev/stdout: what was printed stays
        with contextlib.suppress(OSError):  # closed
            if os.path.samestat(there, os.fstat(descriptor)):
                return descriptor
    return None if stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode) else os.fspath(path)


def _write_to(stream: str | int, path: str | os.PathLike[str], data: bytes) -> None:
    for printed in (sys.stdout, sys.stderr):
        if printed is not None:  # closed by the caller
            printed.flush()
    try:
        with open(stream, "wb", closefd=isinstance(stream, str)) as file:
            file.write(data)
    except OSError as error:  # a broken pipe here is none of standard output
        raise OSError(f"cannot write {os.fspath(path)}: {error.strerror}") from error


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[IO[bytes]]:
    """Open a new file of a hidden name, locked; it is removed unless it was moved away."""
    while True:
        file = (folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}").open("xb")
        with contextlib.suppress(OSError):  # no locks, and so nobody clears it away
            lock(file.fileno(), wait=True)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # cleared away by another process, before it was locked
    try:
        with file:
            yield file
    finally:
        Path(file.name).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what killed processes left: a hidden file that nobody has locked."""
    if not has_locks():
        return
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError), open_regular(left) as file:
            if lock(file.fileno(), wait=False):
                left.unlink()
