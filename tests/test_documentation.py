"""Every example in the documentation runs, and every script is in the README and runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\| `)?python (scripts/\w+\.py[^`\n|]*)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_examples(page: Path, tmp_path: Path) -> None:
    """A page's examples run one after the other, as a reader would run them."""
    code = "\n".join(PYTHON.findall(page.read_text()))
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


COMMANDS = sorted({found.strip() for page in PAGES for found in COMMAND.findall(page.read_text())})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, tmp_path: Path) -> None:
    script, *options = command.split()
    if "record" in script:
        pytest.importorskip("torch")
    subprocess.run([sys.executable, ROOT / script, *options], cwd=tmp_path, check=True)


def test_every_script_is_documented() -> None:
    scripts = {
        f"scripts/{path.name}"
        for path in (ROOT / "scripts").glob("*.py")
        if "cli.run(main)" in path.read_text()  # the others are what scripts share
    }
    assert scripts <= {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_tests_that_are_named_are_there(page: Path) -> None:
    there = {path.name for path in (ROOT / "tests").rglob("*.py")}
    for path in (ROOT / "tests").rglob("*.py"):
        there |= set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    assert set(re.findall(r"`(?:[\w/]+/)?(test_\w+(?:\.py)?)`", page.read_text())) <= there
