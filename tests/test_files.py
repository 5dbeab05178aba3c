"""Files whole or not at all, in every place that a file can be written to."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fgrad import files

WRITE = "import sys; from fgrad.files import write_whole; write_whole(sys.argv[1], b'data\\n')"


def test_the_mode_of_a_file_that_is_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch()
    for mode in (0o600, 0o444, 0o755):
        path.chmod(mode)
        files.write_whole(path, oct(mode).encode())
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (oct(mode), mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_that_any_other_has(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write_whole(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for content in (b"new", b"again"):
        files.write_whole(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == content


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    files.write_whole(path, b"data" * 100_000)
    reader.join()
    assert read == [b"data" * 100_000]
    assert path.is_fifo()


def test_standard_output_is_written_to_in_its_place(tmp_path: Path) -> None:
    """A pipe, and a file that is written further: nothing is lost, before or after."""
    code = f"print('before'); {WRITE}; print('after')"
    command = [sys.executable, "-c", code, "/dev/stdout"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert piped.stdout == "before\ndata\nafter\n"
    with (tmp_path / "out.txt").open("w") as out:
        subprocess.run(command, stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "before\ndata\nafter\n"


def test_a_folder_and_no_folder_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder", "none/file"):
        with pytest.raises(OSError, match=rf"\] .*: '{tmp_path / name}'$"):
            files.write_whole(tmp_path / name, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_what_a_killed_process_left_is_cleared_by_the_next_one(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    kill = f"import os, signal; {moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL); {WRITE}"
    killed = subprocess.run([sys.executable, "-c", kill, path], check=False)
    assert killed.returncode < 0
    (left,) = {*tmp_path.iterdir()} - {path}
    assert left.name.startswith(".")
    assert path.read_text() == "old"
    files.write_whole(tmp_path / "other", b"")
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "other"}


def test_what_another_is_writing_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def write_another_first(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        files.write_whole(tmp_path / "other", b"other")
        replace(source, target)

    monkeypatch.setattr(os, "replace", write_another_first)
    files.write_whole(tmp_path / "file", b"file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "file": "file",
        "other": "other",
    }


def test_a_file_that_was_cleared_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = files.lock

    def clear_first(descriptor: int, *, wait: bool) -> bool:
        monkeypatch.setattr(files, "lock", lock)
        files._clear(tmp_path)
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(files, "lock", clear_first)
    files.write_whole(tmp_path / "file", b"file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"\] expected a regular file, got .*: '.*fifo'$"):
        files.open_regular(tmp_path / "fifo")
    with pytest.raises(IsADirectoryError):
        files.open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "none")


def test_a_file_that_holds_the_data_already_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that cannot be written."""
    path = tmp_path / "file"
    path.write_bytes(b"data")

    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", fail)
    files.write_whole(path, b"data")
    for other in (b"DATA", b"data and more"):
        with pytest.raises(OSError, match=r"Read-only file system: '.*/file'$"):
            files.write_whole(path, other)
    assert path.read_bytes() == b"data"
