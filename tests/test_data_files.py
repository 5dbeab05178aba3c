"""IDX and CIFAR files: whole ones load rightly, all others raise one line that names the file."""

import contextlib
import gzip
import io
import itertools
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fgrad import data
from fgrad.data import _reading, cifar, idx

RNG = np.random.default_rng(0)
COUNTS = {"train": 3, "t10k": 2}
MOST = {"train": 60_000, "t10k": 10_000}


def idx_bytes(values: np.ndarray) -> bytes:
    """Write the format down by its description."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def idx_files() -> dict[str, bytes]:
    """The four files of a small set, by name."""
    files = {}
    for part, count in COUNTS.items():
        files[f"{part}-images-idx3-ubyte"] = idx_bytes(RNG.integers(0, 256, (count, 28, 28), "u1"))
        files[f"{part}-labels-idx1-ubyte"] = idx_bytes(RNG.integers(0, 10, count, "u1"))
    return files


def cifar_files() -> dict[str, bytes]:
    """The six files of a small set, of two records each."""
    files = {}
    for name in cifar.FILES:
        records = RNG.integers(0, 256, (2, 3073), "u1")
        records[:, 0] %= 10
        files[name] = records.tobytes()
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def parse_idx(files: dict[str, bytes]) -> list[np.ndarray] | None:
    """What the files hold, read by the format's description; None if they are not such a set."""
    arrays = []
    for name, packed in files.items():
        rank = 3 if "images" in name else 1
        try:
            content = unpacked(packed)
            zero, kind, axes, *sizes = struct.unpack_from(f">HBB{rank}I", content)
        except (OSError, EOFError, zlib.error, struct.error):
            return None
        payload = content[4 + 4 * rank :]
        most = MOST[name.partition("-")[0]]
        if (zero, kind, axes, sizes[1:]) != (0, 8, rank, [28, 28][: rank - 1]):
            return None
        if not 0 < sizes[0] <= most or len(payload) != np.prod(sizes, dtype=object):
            return None
        arrays.append(np.frombuffer(payload, np.uint8).reshape(sizes))
    for images, labels in zip(arrays[::2], arrays[1::2], strict=True):
        if len(images) != len(labels) or labels.max() > 9:
            return None
    return arrays


def parse_cifar(files: dict[str, bytes]) -> list[np.ndarray] | None:
    sizes = {len(content) for content in files.values()}
    if len(sizes) > 1 or not (size := sizes.pop()) or size % 3073 or size > 10_000 * 3073:
        return None
    records = [np.frombuffer(files[name], np.uint8).reshape(-1, 3073) for name in cifar.FILES]
    if max(part[:, 0].max() for part in records) > 9:
        return None
    train, test = np.concatenate(records[:5]), records[5]
    return [train[:, 1:], train[:, 0], test[:, 1:], test[:, 0]]


def check(folder: Path, files: dict[str, bytes], kind: str) -> bool:
    """Load what is in the folder, and tell whether it is a set, as the description has it."""
    parse, load = {"idx": (parse_idx, data.mnist), "cifar": (parse_cifar, data.cifar10)}[kind]
    expected = parse(files)
    if expected is None:
        with pytest.raises(ValueError, match=r": expected .*, got ") as error:
            load(folder)
        message = str(error.value)
        assert "\n" not in message
        assert any(message.startswith(str(folder / name)) for name in files)
        return False
    for part, images, labels in zip(load(folder), expected[::2], expected[1::2], strict=True):
        np.testing.assert_array_equal(part.images.reshape(images.shape), images)
        np.testing.assert_array_equal(part.labels, labels)
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int32)
        assert part.images.flags.c_contiguous
        assert part.images.flags.writeable
    return True


def mutated(files: dict[str, bytes], rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files for ever: cut, lengthened, altered, or another one's content."""
    names = list(files)
    while True:
        name = names[rng.integers(len(names))]
        content = bytearray(files[name])
        # As often in the first bytes, where a header is, as anywhere.
        reach = 20 if rng.random() < 0.5 else len(content)
        at = int(rng.integers(min(reach, len(content))))
        match rng.integers(6):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + int(rng.integers(1, 5))]
            case 2:
                content[at:at] = rng.bytes(int(rng.integers(1, 5)))
            case 3:
                content += rng.bytes(int(rng.integers(1, 5)))
            case 4:
                content = bytearray(files[names[rng.integers(len(names))]])
            case _:
                content[at] ^= 1 << int(rng.integers(8))
        yield name, bytes(content)


@pytest.mark.parametrize(
    ("kind", "packed", "times"), [("idx", False, 1500), ("idx", True, 1500), ("cifar", False, 1000)]
)
def test_damaged_files(kind: str, packed: bool, times: int, tmp_path: Path) -> None:
    files = idx_files() if kind == "idx" else cifar_files()
    if packed:
        files = {name: gzip.compress(content, mtime=0) for name, content in files.items()}
    write(tmp_path, files)
    assert check(tmp_path, files, kind)
    outcomes = []
    for name, content in itertools.islice(mutated(files, np.random.default_rng(1)), times):
        (tmp_path / name).write_bytes(content)
        outcomes.append(check(tmp_path, {**files, name: content}, kind))
        (tmp_path / name).write_bytes(files[name])
    # A changed pixel or label is another picture or class: that loads.
    assert 0.02 < np.mean(outcomes) < 0.6


def test_labels_out_of_range(tmp_path: Path) -> None:
    """Classes are counted from 0: the first that is none is 10."""
    files = {**idx_files(), **cifar_files()}
    write(tmp_path, files)
    for name, load in (("t10k-labels-idx1-ubyte", data.mnist), ("test_batch.bin", data.cifar10)):
        content = bytearray(files[name])
        content[-1 if "idx1" in name else -3073] = 10
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: expected labels from 0 to 9, got 10"):
            load(tmp_path)


def test_train_and_test_exchanged(tmp_path: Path) -> None:
    """More than 10,000 to test with are not MNIST's."""
    write(tmp_path, idx_files())
    many = idx_bytes(np.zeros(10_001, "u1"))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(many)
    with pytest.raises(ValueError, match=r"expected the sizes 1 to 10000 in its header, got 10001"):
        data.mnist(tmp_path)


def test_a_file_cut_between_two_records(tmp_path: Path) -> None:
    files = cifar_files()
    write(tmp_path, files)
    (tmp_path / "data_batch_3.bin").write_bytes(files["data_batch_3.bin"][:3073])
    with pytest.raises(ValueError, match=r"data_batch_3\.bin: expected 2 images as in .*, got 1"):
        data.cifar10(tmp_path)


@given(content=st.binary(max_size=40))
@settings(max_examples=300)
def test_any_bytes_as_labels(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "labels"
    path.write_bytes(content)
    whole = content[:4] == b"\0\0\x08\x01" and len(content) - 8 == int.from_bytes(content[4:8])
    if whole and len(content) > 8:
        assert idx.read_idx(path, (), most=60_000).tolist() == list(content[8:])
    else:
        with pytest.raises(ValueError, match="labels: expected "):
            idx.read_idx(path, (), most=60_000)


SIDES = st.just(28) | st.integers(0, 99)


@given(
    sizes=st.tuples(st.just(1) | st.integers(0, 2**32 - 1), SIDES, SIDES),
    length=st.integers(780, 790),
)
@example(sizes=(1, 28, 28), length=784)
@example(sizes=(1, 14, 56), length=784)
@settings(max_examples=300)
def test_any_header(
    tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, ...], length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "images"
    path.write_bytes(struct.pack(">HBBIII", 0, 8, 3, *sizes) + bytes(length))
    if (sizes, length) == ((1, 28, 28), 784):
        assert idx.read_idx(path, (28, 28), most=60_000).shape == sizes
    else:
        with pytest.raises(ValueError, match="images: expected "):
            idx.read_idx(path, (28, 28), most=60_000)


@contextlib.contextmanager
def refused_within(memory: float, reason: str) -> Iterator[None]:
    """Expect a refusal that takes no more bytes of memory than this on the way."""
    tracemalloc.start()
    with pytest.raises(ValueError, match=reason):
        yield
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < memory


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [(60_000, "expected 47040000 bytes after its header"), (2**32 - 1, "expected the sizes 1 to")],
)
def test_a_header_takes_no_memory(claimed: int, reason: str, tmp_path: Path) -> None:
    files = idx_files()
    write(tmp_path, files)
    images = files["train-images-idx3-ubyte"]
    (tmp_path / "train-images-idx3-ubyte").write_bytes(
        images[:4] + claimed.to_bytes(4) + images[8:]
    )
    with refused_within(4e6, reason):
        data.mnist(tmp_path)


def test_a_gzip_bomb_takes_no_memory(tmp_path: Path) -> None:
    """64 MB of labels in 64 kB, where the header promises as many as there may be."""
    write(tmp_path, idx_files())
    labels = bytes([0, 0, 8, 1]) + (60_000).to_bytes(4) + bytes(2**26)
    packed = gzip.compress(labels)
    assert len(packed) < 2**17
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(packed)
    with refused_within(4e6, "expected 60000 bytes after its header, got more"):
        data.mnist(tmp_path)


@pytest.mark.parametrize("start", [b"", gzip.compress(b"data")], ids=["at-once", "after-data"])
@pytest.mark.parametrize("kind", ["members", "padding"])
def test_a_gzipped_file_of_nothing_is_not_read_to_its_end(
    start: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two million empty members would take half a minute, for no byte of data."""
    monkeypatch.setattr(_reading, "_MEMBERS", 100)
    rest = gzip.compress(b"") * 2000 if kind == "members" else bytes(200 * _reading._PIECE)
    file = io.BytesIO(start + rest)
    with pytest.raises(EOFError, match="more than 100 gzip members, or as much padding"):
        _reading.read(_reading.Unpacked(file), 5)
    assert len(file.read()) > len(rest) // 3


@pytest.mark.parametrize("flags", range(0, 256, 2))
def test_every_gzip_header_is_read_as_gzip_does(flags: int) -> None:
    data = gzip.compress(b"data")
    header, name = bytearray(data[:10]), b"name\0" * bool(flags & 8)
    header[3] = flags
    extra = b"\x03\x00any" * bool(flags & 4)
    rest = name + b"comment\0" * bool(flags & 16) + b"no" * bool(flags & 2) + data[10:]
    assert gzip.decompress(header + extra + rest) == b"data"
    assert _reading.read(_reading.Unpacked(io.BytesIO(header + extra + rest)), 9) == b"data"


def test_members_in_a_row_and_padding_are_read_as_gzip_does(tmp_path: Path) -> None:
    """As `bgzip` and `cat` make them, and as tapes do."""
    files = idx_files()
    write(tmp_path, files)
    labels = files["train-labels-idx1-ubyte"]
    empty = gzip.compress(b"")
    for packed in (
        gzip.compress(labels[:5]) + gzip.compress(labels[5:]) + empty,
        b"".join(gzip.compress(labels[i : i + 1]) for i in range(len(labels))),
        gzip.compress(labels) + bytes(100_000) + empty + bytes(3),
    ):
        assert gzip.decompress(packed) == labels
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(packed)
        assert check(tmp_path, {**files, "train-labels-idx1-ubyte": packed}, "idx")


def test_a_long_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, cifar_files())
    with (tmp_path / "test_batch.bin").open("r+b") as file:
        file.truncate(2**32)  # a hole, which takes no disk
    with refused_within(2 * cifar.BYTES, "expected 1 to 10000 records of 3073 bytes, got more"):
        data.cifar10(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-idx", ".idx"])
def test_names_of_the_idx_files(mark: str, suffix: str, tmp_path: Path) -> None:
    files = idx_files()
    for name, content in files.items():
        there = gzip.compress(content) if suffix else content
        (tmp_path / (name.replace("-idx", mark) + suffix)).write_bytes(there)
    assert check(tmp_path, files, "idx")
    train, test = data.fashion_mnist(tmp_path)
    assert train.images.shape == (3, 1, 28, 28)
    assert test.classes[9] == "Ankle boot"


def test_the_archive_s_folder(tmp_path: Path) -> None:
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    files = cifar_files()
    write(inner, files)
    train, test = data.cifar10(tmp_path)
    assert train.images.shape == (10, 3, 32, 32)
    assert test.classes[0] == "airplane"
    assert check(inner, files, "cifar")


def test_missing_files_are_listed(tmp_path: Path) -> None:
    write(tmp_path, idx_files())
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").mkdir()
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte, t10k-labels-idx1-ubyte in "):
        data.mnist(tmp_path)
    with pytest.raises(ValueError, match=r"expected data_batch_1\.bin, .*, test_batch\.bin in "):
        data.cifar10(tmp_path)


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist, data.cifar10])
def test_not_a_folder(load: object, tmp_path: Path) -> None:
    assert callable(load)
    with pytest.raises(ValueError, match="folder: expected a folder, got none at "):
        load(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="folder: expected a folder, got a file at "):
        load(tmp_path / "file")
    with pytest.raises(ValueError, match="folder: expected a folder, got a file at "):
        load(tmp_path / "file" / "below")
