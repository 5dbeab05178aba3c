"""The public data sets from their servers: every file checked, and there whole or not at all."""

import contextlib
import logging
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fgrad.data import _http, _optional, _reading, cifar
from fgrad.data.sources import SOURCES, File
from fgrad.files import write_whole

Progress = Callable[[str, int, int], None]
"""Called with a file's name, how many of its bytes are here, and how many it has."""


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    mirrors: Sequence[str] | None = None,
    pause: float = 1.0,
    progress: Progress | None = None,
) -> Path:
    """Fetch a public data set, unless it is there already.

    A file that is cut off is gone on with where the server allows it, else fetched anew; a server
    that fails three times in a row without a byte gained is left for the next. Every file is
    checked against its known SHA-256 before it gets its name, and nothing else is left behind.

    Args:
        name: "mnist", "fashion-mnist" or "cifar10".
        folder: Where to put it, a folder that is made if need be; by default one in the cache, on
            Linux `~/.cache/fgrad/NAME`. A file of the same name that is another is replaced.
        mirrors: Addresses to fetch from, instead of the known ones.
        pause: How many seconds to wait before the second try; each further wait is twice as long.
        progress: Told how far each file is.

    Returns:
        The folder, for `mnist`, `fashion_mnist` or `cifar10`.

    Raises:
        ValueError: If `name` is another, or `mirrors` is empty.
        OSError: If no server gives the right file, or it cannot be written; the line says which,
            why, and what to do.
        ImportError: If pooch is not installed.

    Example:
        >>> download("emnist")
        Traceback (most recent call last):
          ...
        ValueError: name: expected one of mnist, fashion-mnist, cifar10, got 'emnist'

    Source: `torchvision.datasets.MNIST(root, download=True)`; https://www.fatiando.org/pooch.
    """
    if name not in SOURCES:
        raise ValueError(f"name: expected one of {', '.join(SOURCES)}, got {name!r}")
    mirrors, files = SOURCES[name].mirrors if mirrors is None else mirrors, SOURCES[name].files
    if not mirrors:
        raise ValueError("mirrors: expected one or more, got none")
    folder = _optional.load("pooch").os_cache("fgrad") / name if folder is None else Path(folder)
    try:
        if name == "cifar10":
            _extract(files[0], mirrors, folder, pause, progress)
        else:
            for file in files:
                _retrieve(file, mirrors, folder, pause, progress)
    except _UnavailableError:
        raise
    except OSError as error:
        raise OSError(
            f"folder: expected one that {name} can be written into, got {folder}: "
            f"{_reading.reason(error)}"
        ) from error
    return folder


class _UnavailableError(OSError):
    """No server gives a file."""


def _retrieve(
    file: File, mirrors: Sequence[str], folder: Path, pause: float, progress: Progress | None
) -> None:
    """Fetch a file from the first server that gives it."""
    pooch = _optional.load("pooch")

    def report(here: int) -> None:
        if progress:
            progress(file.name, here, file.size)

    def fetch(url: str, path: str, _: object) -> None:
        _http.fetch(url, Path(path), file.size, pause=pause, report=report)

    problems = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            with _quiet(pooch.get_logger()):
                pooch.retrieve(url, f"sha256:{file.sha256}", file.name, folder, downloader=fetch)
            return
        except _http.RefusedError as error:
            problems.append(f"{url}: {error}")
        except ValueError:  # what pooch raises when it has deleted what came
            problems.append(f"{url}: not the bytes of the known checksum")
    raise _UnavailableError(
        f"{file.name}: expected it from a server, got {'; '.join(problems)}. Try again later, or "
        f"put the file into {folder} by hand"
    )


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Leave it to `progress` to tell."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _extract(
    archive: File, mirrors: Sequence[str], folder: Path, pause: float, progress: Progress | None
) -> None:
    """Fetch CIFAR-10's archive and take its files out; pooch would leave a half-written one."""
    target = folder / cifar.SUBFOLDER
    if all(_size(target / name) == cifar.BYTES for name in cifar.FILES):
        return
    _retrieve(archive, mirrors, folder, pause, progress)
    target.mkdir(exist_ok=True)
    with tarfile.open(folder / archive.name) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content and member.name in {f"{cifar.SUBFOLDER}/{name}" for name in cifar.FILES}:
                write_whole(folder / member.name, content.read())
    (folder / archive.name).unlink()


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
