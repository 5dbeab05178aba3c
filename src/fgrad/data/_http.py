"""One file from a server: gone on with after a cut where the server can, fetched anew else."""

import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from fgrad.data import _optional, _reading

# How often in a row a server may fail without a byte gained.
_TRIES = 3

# Asked too often, too slow, or for a part that it does not have: another try may do.
_PASSING = (408, 416, 429)

# Seconds to wait for a connection, and for the next bytes.
_TIMEOUT = (10, 30)


class RefusedError(Exception):
    """A server does not give the file, asked as often as it is worth."""


def fetch(
    url: str, path: Path, size: int, *, pause: float, report: Callable[[int], None] | None
) -> None:
    """Write the `size` bytes of a file on a server.

    Waits `pause` seconds after a cut, twice as long after the next that gains nothing, and tells
    `report` how many bytes there are.
    """
    requests, urllib3 = _optional.load("requests"), _optional.load("urllib3.exceptions")
    furthest = failures = 0
    with path.open("wb") as file:
        while True:
            try:
                for here in _received(url, file):
                    if here > size:
                        raise RefusedError(f"more than the {size} bytes that it has")
                    if report:
                        report(here)
                problem = "connection closed"
            except (requests.RequestException, urllib3.HTTPError) as error:
                problem = _reason(error)
            if (here := file.tell()) == size:
                return
            failures = 0 if here > furthest else failures + 1
            furthest = max(furthest, here)
            if failures == _TRIES:
                raise RefusedError(f"{problem} (after {here} of {size} bytes)")
            time.sleep(pause * 2 ** max(failures - 1, 0))


def _received(url: str, file: IO[bytes]) -> Iterator[int]:
    """Ask for what is missing, and yield how much there is after every piece."""
    requests = _optional.load("requests")
    start = file.tell()
    headers = {"Accept-Encoding": "identity"}  # a .gz as it lies there, not unpacked on the way
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        status = response.status_code
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if status == 416 or (status < 400 and not (status == 206 and goes_on)):
            file.seek(0)
            file.truncate()
        if status >= 400:
            problem = f"status {status} {response.reason}"
            if status < 500 and status not in _PASSING:
                raise RefusedError(problem)
            raise requests.HTTPError(problem)
        for piece in response.raw.stream(2**16, decode_content=False):
            file.write(piece)
            yield file.tell()


def _reason(error: BaseException) -> str:
    """Return what is at the bottom of an error: libraries wrap it three times over."""
    while error.__context__:
        error = error.__context__
    if isinstance(error, http.client.HTTPException):  # cut short, or not HTTP at all
        return "a broken answer"
    return _reading.reason(error)
