"""Checkpoints come back to the bit, or are found out."""

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fgrad
from fgrad import checkpoint
from fgrad.checkpoint import _arrays, _manifest

SETTINGS = {"lr": 0.1, "net": "lenet", "flip": None}


def tree() -> dict[str, Any]:
    """Return a state of every kind of array that a run has."""
    rng = np.random.default_rng(0)
    params = {"fc1": {"weight": jnp.asarray(rng.normal(size=(3, 4)).astype(np.float32))}}
    optimizer = fgrad.optim.sgd(0.1, momentum=0.9)
    return {
        "train": fgrad.init_state(params, optimizer),
        "odd": jnp.array([np.nan, np.inf, -0.0, 1e-40], jnp.float32),
        "key": jax.random.key(7),
        "rng": fgrad.random.Generator(5).get_state(),
        "exact": rng.normal(size=5),
        "scalar": np.array(3, np.int64),
    }


def bits(state: Any) -> list[tuple[str, bytes]]:
    """Return dtype and bytes of every leaf."""

    def plain(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if str(leaf.dtype).startswith("key") else leaf

    return [(str(leaf.dtype), np.asarray(plain(leaf)).tobytes()) for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two checkpoints, the later one of step 20."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoint.save(folder, tree(), step=10, settings=SETTINGS, info={"epoch": 1})
    later = {**tree(), "exact": np.zeros(5)}
    checkpoint.save(folder, later, step=20, settings=SETTINGS, info={"epoch": 2})
    return folder


def test_everything_comes_back_to_the_bit(two: Path) -> None:
    like = jax.tree.map(lambda leaf: leaf, tree())
    found = checkpoint.restore(two, like, settings=SETTINGS)
    assert (found.step, found.info, found.damaged) == (20, {"epoch": 2}, [])
    expected = {**tree(), "exact": np.zeros(5)}
    assert bits(found.tree) == bits(expected)
    assert jax.tree.structure(found.tree) == jax.tree.structure(expected)
    kinds = [isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found.tree)]
    assert kinds == [isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(expected)]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[:-1])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "altered":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif how == "missing":
        path.unlink()
    else:
        path.with_name("one_more").write_bytes(data)


def test_every_file_that_is_damaged_is_found_out(two: Path, tmp_path: Path) -> None:
    later = two / "0000000020"
    names = [str(path.relative_to(later)) for path in later.rglob("*") if path.is_file()]
    assert len(names) > 5
    assert "manifest.json" in names
    for name in names:
        for how in ("cut", "emptied", "altered", "missing", "joined by another"):
            folder = tmp_path / "copy"
            shutil.copytree(two, folder)
            damage(folder / later.name / name, how)
            found = checkpoint.restore(folder, tree(), settings=SETTINGS)
            assert (found.step, found.info) == (10, {"epoch": 1}), (name, how)
            assert bits(found.tree) == bits(tree())
            (line,) = found.damaged
            assert line.startswith("checkpoint 0000000020 is damaged: ")
            assert ("one_more" if how == "joined by another" else name) in line
            shutil.rmtree(folder)


def test_none_that_is_whole_is_refused_with_the_reasons(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    for step in (10, 20):
        (tmp_path / f"{step:010}" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^folder: expected a checkpoint in .*20 is .*10 is "):
        checkpoint.restore(tmp_path, tree())
    with pytest.raises(ValueError, match=r"^folder: expected a checkpoint in .*: there is none$"):
        checkpoint.restore(tmp_path / "elsewhere", tree())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.2}, "settings: expected lr 0.1 as in the checkpoint, got 0.2"),
        ({"net": "mlp"}, 'settings: expected net "lenet" as in the checkpoint, got "mlp"'),
        ({"seed": 1}, "settings: expected seed null as in the checkpoint, got 1"),
    ],
    ids=["number", "word", "added"],
)
def test_other_settings_are_refused(two: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        checkpoint.restore(two, tree(), settings={**SETTINGS, **changed})


def test_a_setting_that_is_left_out_is_another(two: Path) -> None:
    net = {"net": SETTINGS["net"]}
    with pytest.raises(
        ValueError, match=r"settings: expected lr 0\.1 as in the checkpoint, got null"
    ):
        checkpoint.restore(two, tree(), settings=net)


def test_other_arrays_are_refused_by_name(two: Path) -> None:
    like = {**tree(), "exact": np.zeros(6), "odd": jnp.zeros(4, jnp.int32), "more": np.zeros(1)}
    with pytest.raises(ValueError, match=r"^like: ") as error:
        checkpoint.restore(two, like)
    assert str(error.value) == (
        "like: expected exact float64 of shape (6,), got float64 of shape (5,); "
        "expected more float64 of shape (1,), got none; "
        "expected odd int32 of shape (4,), got float32 of shape (4,)"
    )


def test_the_last_few_are_kept_and_those_of_a_run_that_was_left_go(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, state, step=step, keep=3)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "3", "4"]
    checkpoint.save(tmp_path, state, step=3, keep=3)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "3"]


def test_what_a_killed_process_left_is_cleared_away(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two / "0000000020", tmp_path / ".0000000030.partial")
    with pytest.raises(ValueError, match="there is none"):
        checkpoint.restore(tmp_path, tree())
    checkpoint.save(tmp_path, {"w": np.zeros(1)}, step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001"]


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow above 100 kB, which fails as a full disk does, in the middle of a write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_reported_and_leaves_the_last_good_one(tmp_path: Path) -> None:
    state = {"w": np.random.default_rng(0).normal(size=10_000)}
    checkpoint.save(tmp_path, state, step=1)
    with full_disk(), pytest.raises(OSError, match=r"^cannot write the checkpoint .*: File too"):
        checkpoint.save(tmp_path, state, step=2)
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001"]
    assert bits(checkpoint.restore(tmp_path, state).tree) == bits(state)


def test_a_failure_inside_orbax_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_arrays, "find_room", lambda path, tree: None)
    state = {"w": np.random.default_rng(0).normal(size=100_000)}
    with full_disk(), pytest.raises(OSError, match=r"^cannot write the checkpoint .*too large"):
        checkpoint.save(tmp_path, state, step=2)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("7", "2024", "00000000003"):
        (tmp_path / name).mkdir()
    assert not checkpoint.exists(tmp_path)
    for step in (1, 2):
        checkpoint.save(tmp_path, {"w": np.zeros(1)}, step=step, keep=1)
    assert checkpoint.restore(tmp_path, {"w": np.zeros(1)}).step == 2
    assert {path.name for path in tmp_path.iterdir()} == {"7", "2024", "00000000003", "0000000002"}


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^cannot write the checkpoint .*: Not a directory$"):
        checkpoint.save(tmp_path / "file" / "folder", {"w": np.zeros(1)}, step=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": -1}, "step: expected 0 or more, got -1"),
        ({"keep": 0}, "keep: expected 1 or more, got 0"),
        ({"tree": {}}, "tree: expected a pytree with at least one array, got an empty one"),
        ({"tree": {"a": {"b": 1.0}}}, "tree: expected arrays, got float at a.b"),
        ({"tree": {"a": np.zeros((0, 2))}}, r"tree: expected no empty array, got a of shape \(0,"),
        ({"info": {"loss": float("nan")}}, "settings, info: expected what JSON can hold: "),
        ({"settings": {"lr": np.zeros(1)}}, "settings, info: expected what JSON can hold: "),
    ],
    ids=["step", "keep", "empty", "number", "no-size", "nan", "array"],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"tree": {"w": np.zeros(1)}, "step": 1, **arguments}
    with pytest.raises(ValueError, match=f"^{message}"):
        checkpoint.save(tmp_path / "new", **call)
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_that_was_moved_away_is_found_there_and_put_back_by_save(
    tmp_path: Path,
) -> None:
    """A save over it moves it first, and may be killed before the new one is there."""
    like = {"w": np.zeros(2)}
    path = checkpoint.save(tmp_path, {"w": np.array([1.0, 2.0])}, step=3)
    moved = path.rename(tmp_path / f".{path.name}.old.partial")
    assert checkpoint.exists(tmp_path)
    found = checkpoint.restore(tmp_path, like)
    assert (found.step, found.tree["w"].tolist()) == (3, [1.0, 2.0])
    assert list(tmp_path.iterdir()) == [moved]
    checkpoint.save(tmp_path, like, step=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000003", "0000000004"]


def test_reading_does_not_disturb_another_process_that_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = {"w": np.zeros(1)}
    checkpoint.save(tmp_path, {"w": np.array([1.0])}, step=3)
    rename, seen = Path.rename, []

    def rename_and_read(path: Path, target: Path) -> Path:
        renamed = rename(path, target)
        if renamed.parent == tmp_path.resolve():  # not within Orbax's own folder
            found = checkpoint.restore(tmp_path, like)
            seen.append((checkpoint.exists(tmp_path), found.tree["w"].tolist()))
        return renamed

    monkeypatch.setattr(Path, "rename", rename_and_read)
    checkpoint.save(tmp_path, {"w": np.array([2.0])}, step=3)
    assert seen == [(True, [1.0]), (True, [2.0])]  # the old one moved away, the new one there
    assert [path.name for path in tmp_path.iterdir()] == ["0000000003"]


def test_a_manifest_is_written_where_no_folder_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, which flushes no file that is open for reading alone either."""
    opened, flushed = os.open, os.fsync

    def open_file(path: Any, flags: int, *rest: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *rest)

    def flush_written(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flushed(descriptor)

    (tmp_path / "file").write_text("data")
    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", flush_written)
    _manifest.write(tmp_path, {"step": 1})
    assert _manifest.read(tmp_path)["step"] == 1


def test_a_file_of_the_manifests_name_further_down_is_looked_at_too(tmp_path: Path) -> None:
    below = tmp_path / "below" / "manifest.json"
    below.parent.mkdir()
    below.write_text("data")
    _manifest.write(tmp_path, {})
    below.write_text("DATA")
    with pytest.raises(ValueError, match=r"^below/manifest.json was altered$"):
        _manifest.read(tmp_path)


def sign(folder: Path, *without: str, **others: Any) -> None:
    """Sign a checkpoint's manifest once more, without some facts, and with others."""
    facts = json.loads((folder / "manifest.json").read_text()) | others
    for name in ("sha256", *without):
        del facts[name]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**facts, "sha256": digest}))


@pytest.mark.parametrize(
    ("without", "others", "message"),
    [
        (["files"], {}, "manifest.json lacks the sizes and checksums of files"),
        ([], {"files": {"arrays": 1}}, "manifest.json lacks the sizes and checksums of files"),
        (["step"], {}, "manifest.json lacks the right step"),
        ([], {"step": "1", "info": [1]}, "manifest.json lacks the right step, info"),
        ([], {"arrays": {"w": [[2]]}}, "manifest.json lacks the right arrays"),
        ([], {"settings": 3}, "manifest.json lacks the right settings"),
    ],
    ids=["no-files", "files", "no-step", "step-and-info", "arrays", "settings"],
)
def test_a_manifest_rightly_signed_that_lacks_facts_is_damaged(
    tmp_path: Path, without: list[str], others: dict[str, Any], message: str
) -> None:
    state = {"w": np.zeros(2)}
    checkpoint.save(tmp_path, state, step=1)
    sign(checkpoint.save(tmp_path, state, step=2), *without, **others)
    found = checkpoint.restore(tmp_path, state)
    assert found.step == 1
    assert found.damaged == [f"checkpoint 0000000002 is damaged: {message}"]


def test_arrays_that_orbax_cannot_read_are_damaged(tmp_path: Path) -> None:
    state = {"w": np.zeros(2)}
    checkpoint.save(tmp_path, state, step=1)
    later = checkpoint.save(tmp_path, state, step=2)
    shutil.rmtree(later / "arrays")
    sign(later, files={})
    found = checkpoint.restore(tmp_path, state)
    assert found.step == 1
    (line,) = found.damaged
    assert line.startswith("checkpoint 0000000002 is damaged: its arrays: ")


def test_what_is_no_checkpoint_is_never_touched(tmp_path: Path) -> None:
    """Of a checkpoint's name or of a half-written one's; empty, with files, with a manifest."""
    names = ("1700000000", "2026010112", "0000000002", ".foo.partial", ".0000000009.partial")
    theirs = [tmp_path / name / "thesis.txt" for name in names]
    theirs += [tmp_path / "0000000003" / "manifest.json", tmp_path / ".0000000008.partial"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    (tmp_path / "0000000004").mkdir()
    assert not checkpoint.exists(tmp_path / "1700000000")
    state = {"w": jnp.ones(2)}
    with_a_note = checkpoint.save(tmp_path, state, step=5) / "note.txt"
    with_a_note.write_text("a good one")
    for step in (6, 7):
        checkpoint.save(tmp_path, state, step=step, keep=1)
    assert all(path.read_text() == "{}" for path in theirs)
    assert (tmp_path / "0000000004").is_dir()
    assert with_a_note.read_text() == "a good one"
    assert not (tmp_path / "0000000006").exists()
    found = checkpoint.restore(tmp_path, state)
    assert found.step == 7
    assert found.damaged == [
        "checkpoint 2026010112 is damaged: manifest.json is missing",
        "checkpoint 1700000000 is damaged: manifest.json is missing",
    ]


@pytest.mark.parametrize("name", ["0000000003", ".0000000003.partial", ".0000000003.old.partial"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_in_the_way_is_named_and_stays(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
        path = path / "thesis.txt"
    path.write_text("mine")
    with pytest.raises(OSError, match=rf"^cannot write the checkpoint .*/{name} is something else"):
        checkpoint.save(tmp_path, {"w": np.zeros(1)}, step=3)
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_with_nothing_of_a_checkpoint_holds_none(tmp_path: Path) -> None:
    (tmp_path / "1700000000").mkdir()
    (tmp_path / "1700000000" / "thesis.txt").write_text("mine")
    assert not checkpoint.exists(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "arrays/_METADATA"])
def test_a_fifo_in_place_of_a_file_is_damage(tmp_path: Path, name: str) -> None:
    """Opening one would wait for ever."""
    state = {"w": np.zeros(2)}
    checkpoint.save(tmp_path, state, step=1)
    path = checkpoint.save(tmp_path, state, step=2) / name
    path.unlink()
    os.mkfifo(path)
    found = checkpoint.restore(tmp_path, state)
    assert found.step == 1
    assert found.damaged == [
        "checkpoint 0000000002 is damaged: [Errno 22] expected a regular file, got a device or a "
        f"pipe: '{path.resolve()}'"
    ]
