"""Running the scripts as a user does."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a script and return what it printed, and its exit code."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=400)


def lines(script: str, *args: object) -> list[str]:
    """Run a script that succeeds, and return the lines it printed."""
    result = run(script, *args)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def assert_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    """Assert that a script refused what it was given, in one line that says why."""
    assert (result.returncode, result.stdout) == (2, ""), result
    assert message in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
