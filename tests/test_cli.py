"""What a program does around its run: which failures are whose, and what it prints where."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fgrad
from fgrad import cli, data
from fgrad import functional as F

PRINTS = """
import sys
from fgrad import cli
def main():
    for line in range(int(sys.argv[1])):
        print(line, "K\xe4se")
    return 0
cli.run(main)
"""


def ended(
    main: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> tuple[int | str | None, str]:
    """Run a program in this process; return its exit code and what it said on stderr."""
    with pytest.raises(SystemExit) as end:
        cli.run(main, program="program")
    return end.value.code, capsys.readouterr().err


def refused_while_tracing() -> None:
    jax.jit(lambda x: F.l1_loss(x, x, reduction="none at all"))(jnp.ones(2))


def refused_while_another_is_handled() -> None:
    try:
        int("x")
    except ValueError:
        data.mnist("no such folder")


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (lambda: data.mnist("no such folder"), "folder: expected a folder, got none at no such "),
        (refused_while_tracing, "reduction: "),
        (refused_while_another_is_handled, "folder: expected a folder, got none at no such "),
    ],
    ids=["at-once", "traced", "while-handling"],
)
def test_what_is_refused_by_name_exits_with_2(
    main: Callable[[], Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ended(main, capsys)
    assert code == 2
    assert said.startswith(f"program: error: {message}")
    assert said.count("\n") == 1


def inside_fgrad() -> None:
    exec("int('x')", {"__name__": "fgrad.somewhere"})


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (lambda: int("x"), "ValueError: invalid literal for int"),
        (lambda: np.zeros(2) + np.zeros(3), "ValueError: operands could not be broadcast"),
        (lambda: jnp.zeros(2) @ jnp.zeros(3), "TypeError: "),
        (lambda: {}["key"], "KeyError: 'key'"),
        (inside_fgrad, "ValueError: invalid literal for int"),
        (lambda: fgrad.least_squares(None, {"w": np.zeros(1)}, 1, 2), "TypeError: "),
    ],
    ids=["python", "numpy", "jax", "key", "fgrad", "fgrad-type"],
)
def test_a_fault_inside_exits_with_1_and_says_how_to_see_more(
    main: Callable[[], Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ended(main, capsys)
    assert code == 1
    assert said.startswith(
        "program: error: a fault in the program, which FGRAD_TRACEBACK=1 in the environment shows: "
        + message
    )
    assert said.count("\n") == 1


def test_a_run_that_failed_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ended(lambda: Path("/no/such/file").read_bytes(), capsys)
    assert code == 1
    assert said == "program: error: [Errno 2] No such file or directory: '/no/such/file'\n"


def test_the_traceback_is_shown_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FGRAD_TRACEBACK", "1")
    code, said = ended(lambda: int("x"), capsys)
    assert code == 1
    assert said.startswith("Traceback (most recent call last):\n")
    assert "in <lambda>" in said
    assert said.splitlines()[-1].startswith("program: error: a fault in the program")


def test_the_help_of_every_program_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.ArgumentParser().parse(["--help"])
    assert "FGRAD_TRACEBACK=1 in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shell", "code", "printed", "said"),
    [
        ('PYTHONIOENCODING=ascii "$@" 2', 0, "0 K\\xe4se\n1 K\\xe4se\n", ""),
        ('PYTHONIOENCODING=ascii:replace "$@" 1', 0, "0 K?se\n", ""),
        ('"$@" 5 >&-', 0, "", ""),
        ('"$@" 5 <&- >&- 2>&-', 0, "", ""),
        ('"$@" 2 >/dev/full', 1, "", "-c: error: [Errno 28] No space left on device\n"),
        ('"$@" 100000 >/dev/full', 1, "", "-c: error: [Errno 28] No space left on device\n"),
        ('("$@" 100000; echo $? >&2) | head -0', 0, "", "1\n"),
        ('("$@" none; echo $?) 2>/dev/full', 0, "1\n", ""),
    ],
    ids=["ascii", "replace", "closed", "all-closed", "full", "full-early", "head", "full-stderr"],
)
def test_standard_streams_of_every_kind(shell: str, code: int, printed: str, said: str) -> None:
    command = ["bash", "-c", shell, "bash", sys.executable, "-c", PRINTS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (code, printed, said)


def test_a_file_is_not_opened_as_a_closed_stream(tmp_path: Path) -> None:
    """What is printed would go into it."""
    code = "import os; from fgrad import cli; cli.run(lambda: os.open('file', os.O_CREAT) < 3)"
    command = ["bash", "-c", 'exec "$@" <&- >&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, timeout=60).returncode == 0


def test_an_input_file_is_a_regular_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(argparse.ArgumentTypeError, match="expected a regular file, got"):
        cli.input_file(str(tmp_path / "fifo"))
