"""`python -m fgrad.parity` as a user runs it: what it prints, where, and its exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fgrad import cli
from fgrad.parity.__main__ import PROGRAM, main

pytest.importorskip("torch")

TRAIN = """
import torch

torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batches = [(torch.randn(4, 3), torch.randn(4, 2)) for _ in range(2)]
vector_loss = torch.nn.MSELoss(reduction="none")
"""
PORT = """
import jax.numpy as jnp
import optax


class Ported:
    optimizer = optax.sgd(0.1)


def apply(params, x):
    return x @ params["weight"].T + params["bias"]


def unbiased(params, x):
    return x @ params["weight"].T + 0 * params["bias"]


def loss(output, target):
    return jnp.mean((output - target) ** 2)


def broken(params, x):
    return x @ params["wieght"].T


mapping = {"weight": "wight"}
"""
RECORD = (
    "--model=train.py:model",
    "--loss=train.py:criterion",
    "--optimizer=train.py:optimizer",
    "--batches=train.py:batches",
)
CHECK = ("--apply=port.py:apply", "--loss=port.py:loss", "--optimizer=port.py:Ported.optimizer")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    command = [sys.executable, "-W", "error", "-m", "fgrad.parity", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a program, its port and a recording of two steps."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "train.py").write_text(TRAIN)
    (folder / "port.py").write_text(PORT)
    (folder / "raises.py").write_text("value = 1 / 0\n")
    result = run(folder, "record", "run.safetensors", *RECORD)
    assert (result.returncode, result.stderr) == (0, "")
    shown = run(folder, "show", "run.safetensors")
    assert (shown.returncode, shown.stderr, shown.stdout) == (0, "", result.stdout)
    assert "2 steps, 2 batches, 2 parameters of 8 numbers" in shown.stdout
    assert "optimizer: SGD(lr=0.1" in shown.stdout
    return folder


def test_parity_exits_with_0(folder: Path) -> None:
    result = run(folder, "check", "run.safetensors", *CHECK)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.match(r"PARITY: all \d+ comparisons with run.safetensors hold", result.stdout)


def test_a_mismatch_exits_with_1_and_writes_the_page(folder: Path) -> None:
    options = ("--apply=port.py:unbiased", "--html=report.html", "--mode=free")
    result = run(folder, "check", "run.safetensors", *CHECK, *options)
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"MISMATCH: \d+ of \d+ comparisons .*, running free", lines[0])
    assert "first difference: step 0, forward, output (float64)" in lines
    page = (folder / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert lines[0] in page


BAD = {
    "no command": ([], "arguments are required"),
    "no port": (["check", "run.safetensors"], "--apply"),
    "no such recording": (["check", "absent", *CHECK], "cannot read 'absent': No such file"),
    "nothing to show": (["show", "absent"], "cannot read 'absent': No such file"),
    "no recording": (["check", "port.py", *CHECK], "recording"),
    "no such file": (["check", "run.safetensors", *CHECK, "--apply=absent.py:apply"], "absent.py"),
    "no such name": (["check", "run.safetensors", *CHECK, "--apply=port.py:aply"], "no aply"),
    "no such module": (["check", "run.safetensors", *CHECK, "--apply=absent:apply"], "absent"),
    "no colon": (["check", "run.safetensors", *CHECK, "--apply=port.py"], "module:attribute"),
    "code that raises": (
        ["check", "run.safetensors", *CHECK, "--apply=raises.py:value"],
        "raises.py: ZeroDivisionError",
    ),
    "a port that raises": (
        ["check", "run.safetensors", *CHECK, "--apply=port.py:broken"],
        "wieght",
    ),
    "a mapping that fits nothing": (
        ["check", "run.safetensors", *CHECK, "--mapping=port.py:mapping"],
        "wight",
    ),
    "a loss of many": (["record", "new", *RECORD, "--loss=train.py:vector_loss"], "scalar"),
    "no steps": (["record", "new", *RECORD, "--steps=0"], "1 or more"),
    "a folder that is not there": (["record", "absent/new", *RECORD], "cannot write"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exits_with_2(
    case: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, which has loaded PyTorch already."""
    arguments, message = BAD[case]
    before = sorted(folder.glob("*.*"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["fgrad.parity", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as exit_info:
        cli.run(main, program=PROGRAM)
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith(PROGRAM)
    assert printed.err.count("\n") == 1
    assert (printed.out, exit_info.value.code) == ("", 2)
    assert sorted(folder.glob("*.*")) == before


def test_progress_is_on_the_terminal_of_stderr(folder: Path) -> None:
    reader, writer = os.openpty()
    command = [sys.executable, "-m", "fgrad.parity", "check", "run.safetensors", *CHECK]
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=writer, text=True)
    os.close(writer)
    shown = os.read(reader, 65536).decode()
    os.close(reader)
    assert result.returncode == 0
    assert "\033[K[" in shown
    assert shown.endswith("\033[K")
    assert "\033" not in result.stdout
