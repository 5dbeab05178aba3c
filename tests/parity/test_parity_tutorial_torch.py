"""docs/parity.md, followed word by word in an empty folder: its files, its edits, its commands."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
BLOCK = re.compile(r"^```(py|diff|bash|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?s?[,:]?")


def test_the_tutorial_word_by_word(tmp_path: Path) -> None:
    """A block of py is a file, a diff its edit, bash is run, and text is what bash printed."""
    printed = ""
    for kind, content in BLOCK.findall(PAGE.read_text()):
        match kind:
            case "py":
                name = content.partition("\n")[0].removeprefix("# ")
                (tmp_path / name).write_text(content)
            case "diff":
                edit(tmp_path, content)
            case "bash":
                printed = "".join(run(command, tmp_path) for command in commands(content))
            case "text":
                assert_printed(content, printed)


def edit(folder: Path, content: str) -> None:
    """Replace the lines with a minus by those with a plus, which must be there once."""
    header, *lines = content.splitlines()
    file = folder / header.removeprefix("--- ")
    old = "\n".join(line[1:] for line in lines if line[0] in "- ")
    new = "\n".join(line[1:] for line in lines if line[0] in "+ ")
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} in\n{text}"
    file.write_text(text.replace(old, new))


def commands(content: str) -> list[str]:
    """Return a block's commands, with what is continued on the next line."""
    return content.replace("\\\n", " ").splitlines()


def run(command: str, folder: Path) -> str:
    """Run a command as it stands, with this Python; return what it prints."""
    program, *arguments = command.split()
    assert program == "python"
    result = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode in (0, 1), result.stderr
    assert not result.stderr
    return result.stdout


def assert_printed(expected: str, printed: str) -> None:
    """Compare word by word, as far as the machine does not decide; ... is any lines."""
    pattern = ""
    for line in expected.splitlines():
        words = []
        for before, word in itertools.pairwise(["", *line.split()]):
            rounded = NUMBER.fullmatch(word) and before != "step"
            words.append(r"\S+" if rounded else re.escape(word))
        pattern += r"(.*\n)*?" if line == "..." else r" *" + r" +".join(words) + r" *\n"
    assert re.fullmatch(pattern, printed), f"expected\n{expected}\ngot\n{printed}"
