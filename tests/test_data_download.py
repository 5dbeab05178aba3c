"""Downloads from a server on this machine that cuts, lies and refuses."""

import errno
import gzip
import hashlib
import io
import itertools
import os
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fgrad import data
from fgrad.data import _http, cifar
from fgrad.data.sources import SOURCES, File, Source

RNG = np.random.default_rng(0)


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return gzip.compress(header + values.tobytes(), mtime=0)


# MNIST's files, of 5 and 3 images.
FILES = {
    f"{part}-{kind}-ubyte.gz": idx(RNG.integers(0, 10, (count, *shape), "u1"))
    for part, count in (("train", 5), ("t10k", 3))
    for kind, shape in (("images-idx3", (28, 28)), ("labels-idx1", ()))
}
LARGE = "train-images-idx3-ubyte.gz"
SIZE = len(FILES[LARGE])


class Server:
    """A server whose answer to each request for a file is a test's to choose.

    Attributes:
        url: Its address.
        answer: Called with the handler, the file's bytes, and how many requests for that file came
            before.
        asked: The name and the Range of every request.
    """

    def __init__(self) -> None:
        """Take a port; the thread is started by the fixture."""
        self.answer: Callable[[BaseHTTPRequestHandler, bytes, int], None] = whole
        self.files = FILES
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                before = sum(asked == name for asked, _ in server.asked)
                server.asked.append((name, self.headers["Range"]))
                server.answer(self, server.files[name], before)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:  # a client that has gone
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    known = tuple(File(name, len(b), hashlib.sha256(b).hexdigest()) for name, b in FILES.items())
    monkeypatch.setitem(SOURCES, "mnist", Source(("http://mirror.invalid/",), known))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    server.thread.start()
    yield server
    server.http.shutdown()
    server.thread.join()
    server.http.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: object) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": len(content), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(content)


def whole(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    send(handler, 200, content)


def cut(handler: BaseHTTPRequestHandler, content: bytes, _: int, *, ranges: bool = False) -> None:
    """Send at most 1,000 bytes, then close the connection."""
    start = int(handler.headers["Range"][6:-1]) if ranges and handler.headers["Range"] else 0
    where = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
    rest = content[start:]
    send(handler, 206 if start else 200, rest[:1000], Content_Length=len(rest), **where)


def cut_with_ranges(handler: BaseHTTPRequestHandler, content: bytes, before: int) -> None:
    cut(handler, content, before, ranges=True)


def cut_twice(handler: BaseHTTPRequestHandler, content: bytes, before: int) -> None:
    (cut if before < 2 else whole)(handler, content, before)


def busy_twice(handler: BaseHTTPRequestHandler, content: bytes, before: int) -> None:
    send(handler, 503, b"busy") if before < 2 else whole(handler, content, before)


def wrong_range(handler: BaseHTTPRequestHandler, content: bytes, before: int) -> None:
    """Send from the start what was asked for from later on."""
    if handler.headers["Range"]:
        send(handler, 206, content, Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")
    else:
        cut(handler, content, before)


def no_range(handler: BaseHTTPRequestHandler, content: bytes, before: int) -> None:
    """Refuse ranges."""
    if handler.headers["Range"]:
        send(handler, 416, b"")
    else:
        cut_twice(handler, content, before)


def labelled(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    """As some servers do with .gz files, so that clients unpack them."""
    send(handler, 200, content, Content_Encoding="gzip")


GOOD = [whole, cut_with_ranges, cut_twice, busy_twice, wrong_range, no_range, labelled]


@pytest.mark.parametrize("answer", GOOD, ids=lambda answer: answer.__name__)
def test_the_set_comes_whole(answer: Callable[..., None], server: Server, tmp_path: Path) -> None:
    server.answer = answer
    told: list[tuple[str, int, int]] = []
    folder = tmp_path / "made" / "here"
    report = data.download(
        "mnist", folder, mirrors=[server.url], pause=0, progress=lambda *args: told.append(args)
    )
    assert report == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert len(data.mnist(folder).train.images) == 5
    for name, content in FILES.items():
        assert (name, len(content), len(content)) in told
    if answer is cut_with_ranges:
        wanted = [None, *(f"bytes={start}-" for start in range(1000, SIZE, 1000))]
        assert [asked for name, asked in server.asked if name == LARGE] == wanted


def test_what_is_there_is_not_fetched(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        data.download("mnist", tmp_path, mirrors=[server.url])
    assert len(server.asked) == 4
    (tmp_path / LARGE).write_bytes(b"another")
    data.download("mnist", tmp_path, mirrors=[server.url])
    assert server.asked[4:] == [(LARGE, None)]
    assert (tmp_path / LARGE).read_bytes() == FILES[LARGE]


def test_the_cache_is_the_default(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = data.download("mnist", mirrors=[server.url])
    assert folder.is_relative_to(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def missing(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    send(handler, 404, b"<html>not here</html>")


def wrong(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    send(handler, 200, bytes([content[0] ^ 1]) + content[1:])


def short(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    send(handler, 200, content[:-1])


def endless(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    """Tell no length, and never stop."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(2**16))


def busy(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    send(handler, 503, b"busy")


def no_http(handler: BaseHTTPRequestHandler, content: bytes, _: int) -> None:
    handler.wfile.write(b"\0" * 100)


BAD = [
    (missing, "status 404 Not Found", 1),
    (busy, "status 503 Service Unavailable", 3),
    (wrong, "not the bytes of the known checksum", 1),
    (short, f"connection closed (after {SIZE - 1} of {SIZE} bytes)", 4),
    (endless, f"more than the {SIZE} bytes that it has", 1),
    (cut, f"a broken answer (after 1000 of {SIZE} bytes)", 4),
    (no_http, f"a broken answer (after 0 of {SIZE} bytes)", 3),
]


@pytest.mark.parametrize(("answer", "reason", "asked"), BAD, ids=lambda value: str(value)[:12])
def test_a_bad_server_leaves_nothing(
    answer: Callable[..., None], reason: str, asked: int, server: Server, tmp_path: Path
) -> None:
    server.answer = answer
    with pytest.raises(OSError, match=r"^train-images-idx3-ubyte\.gz: expected it from") as error:
        data.download("mnist", tmp_path, mirrors=[server.url], pause=0)
    message = str(error.value)
    assert f"{server.url}{LARGE}: " in message
    assert reason in message
    assert message.endswith(f"put the file into {tmp_path} by hand")
    assert "\n" not in message
    assert len(server.asked) == asked
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror(server: Server, tmp_path: Path) -> None:
    """One has nothing, one lies, nobody listens at one; the last one has it."""
    answers = {"a": missing, "b": wrong, "c": whole}
    server.answer = lambda handler, content, before: answers[handler.path[1]](
        handler, content, before
    )
    mirrors = [server.url + "a", server.url + "b/", "http://127.0.0.1:9/", server.url + "c"]
    data.download("mnist", tmp_path, mirrors=mirrors, pause=0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def test_nobody_listens(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/\S+: Connection refused \(after 0"):
        data.download("mnist", tmp_path, mirrors=["http://127.0.0.1:9"], pause=0)


def test_every_mirror_is_named(server: Server, tmp_path: Path) -> None:
    server.answer = missing
    with pytest.raises(OSError, match=r"/a/train.*404.*/b/train.*404"):
        data.download("mnist", tmp_path, mirrors=[server.url + "a", server.url + "b"])


def test_waits_grow(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that gained something starts them anew."""
    waits: list[float] = []
    monkeypatch.setattr(_http.time, "sleep", waits.append)
    server.answer = lambda handler, content, before: (
        busy(handler, content, before) if before % 3 else cut_with_ranges(handler, content, before)
    )
    data.download("mnist", tmp_path, mirrors=[server.url], pause=0.5)
    assert waits == list(itertools.islice(itertools.cycle([0.5, 0.5, 1.0]), len(waits)))
    assert len(waits) > 6


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_an_interrupt_or_a_full_disk_leaves_nothing(
    error: BaseException, server: Server, tmp_path: Path
) -> None:
    def stop(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        raise error

    with pytest.raises(type(error)) as raised:
        data.download("mnist", tmp_path, mirrors=[server.url], progress=stop)
    assert list(tmp_path.iterdir()) == []
    if isinstance(error, OSError):
        message = f"folder: expected one that mnist can be written into, got {tmp_path}: No space"
        assert str(raised.value).startswith(message)


def test_not_a_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="folder: expected one that mnist can be written into"):
        data.download("mnist", tmp_path / "file", mirrors=[server.url])
    assert server.asked == []


def test_refused_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name: expected one of mnist, .*, got 'imagenet'"):
        data.download("imagenet", tmp_path)
    with pytest.raises(ValueError, match="mirrors: expected one or more, got none"):
        data.download("mnist", tmp_path, mirrors=[])


@pytest.fixture
def cifar_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with a CIFAR-10 of two records a file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("batches.meta.txt", *cifar.FILES):
            content = bytes(2 * 3073) if name.endswith(".bin") else b"airplane\n"
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    content = packed.getvalue()
    archive = File("cifar-10-binary.tar.gz", len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(SOURCES, "cifar10", Source(("http://mirror.invalid/",), (archive,)))
    monkeypatch.setattr(cifar, "BYTES", 2 * 3073)
    server.files = {archive.name: content}
    return server


def test_cifar_is_taken_out_of_its_archive(cifar_server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        folder = data.download("cifar10", tmp_path, mirrors=[cifar_server.url])
        assert len(data.cifar10(folder).train.images) == 10
        inner = sorted(os.listdir(folder / "cifar-10-batches-bin"))
        assert inner == sorted(cifar.FILES)
        assert os.listdir(folder) == ["cifar-10-batches-bin"]
    assert len(cifar_server.asked) == 1
    # What a kill may leave: some files, and the archive or not.
    (folder / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    data.download("cifar10", tmp_path, mirrors=[cifar_server.url])
    assert len(data.cifar10(folder).test.images) == 2


def test_the_known_sets() -> None:
    """What is published of them: MNIST's and Fashion-MNIST's sizes, and SHA-256 sums as such."""
    for source in SOURCES.values():
        assert all(url.startswith(("https://", "http://")) for url in source.mirrors)
        for file in source.files:
            assert len(bytes.fromhex(file.sha256)) == 32
    sizes = {name: sum(file.size for file in SOURCES[name].files) for name in SOURCES}
    assert sizes == {"mnist": 11_594_722, "fashion-mnist": 30_878_645, "cifar10": 170_052_171}
