"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that nobody ever sees a part of it.

    Args:
        path: Where; a file that is there is replaced (through a link, the file that it points to),
            and stays as it was if anything fails.
        data: The file's content.

    Raises:
        OSError: If it cannot be written; nothing is left behind then.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "a.txt", b"whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    target = Path(path).resolve()
    # A short name of its own until all of it is on the disk.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        partial = Path(folder) / "partial"
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
