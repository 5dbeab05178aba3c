"""What every script does around its run: checked options, claimed outputs, one-line errors."""

import argparse
import contextlib
import dis
import gc
import importlib.metadata
import io
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import jax
import numpy as np

from fgrad.files import open_regular
from fgrad.training import DivergenceError

_OWN: Final = ("fgrad", "__main__")  # the modules whose `raise ValueError` refuses what was given
_FAILURES: Final = (OSError, MemoryError, ImportError, DivergenceError, jax.errors.JaxRuntimeError)
_FAILING: Final = ("strict", "surrogateescape")  # how to encode, if the user has no other wish
_TRACEBACK: Final = "FGRAD_TRACEBACK=1 in the environment shows"
_EPILOG: Final = f"exit code 2: something given is refused; 1: failed, and {_TRACEBACK} where"


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose errors are one line on stderr and exit code 2.

    Its help ends with what the exit codes of `run` mean.

    Example:
        >>> parser = ArgumentParser()
        >>> _ = parser.add_argument("--init", type=finite)
        >>> parser.parse(["--init", "-1e-3"]).init
        -0.001
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (argparse's own)
        """Take what `argparse.ArgumentParser` takes."""
        super().__init__(**{"epilog": _EPILOG, **settings})

    def error(self, message: str) -> NoReturn:
        """Print `message` as one line and exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def parse(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse the command line, taking -1e-3 and -inf for numbers (argparse: for options)."""
        args = sys.argv[1:] if args is None else args
        return self.parse_args(
            [f" {text}" if text[:1] == "-" and _is_number(text) else text for text in args]
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(text: str) -> int | float:
    """Read a number that float32 can hold, an integer where it is written as one.

    Example:
        >>> number("4"), number("4.5")
        (4, 4.5)
    """
    if not _is_number(text):
        raise argparse.ArgumentTypeError(f"expected a number, got {text.strip()!r}")
    if not abs(float(text)) <= float(np.finfo(np.float32).max):
        raise argparse.ArgumentTypeError(
            f"expected a finite number within float32's range, got {text.strip()!r}"
        )
    try:
        return int(text)
    except ValueError:
        return float(text)


def finite(text: str) -> float:
    """Read a number that float32 can hold, as a float.

    Example:
        >>> finite("4")
        4.0
    """
    return float(number(text))


def positive(text: str) -> float:
    """Read a number above 0.

    Example:
        >>> positive("0.01")
        0.01
    """
    value = finite(text)
    if not np.float32(value) > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text.strip()!r}")
    return value


def whole(text: str) -> int:
    """Read an integer.

    Example:
        >>> whole("-1")
        -1
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, got {text.strip()!r}") from None


def at_least(minimum: int, *, at_most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return a reader of integers of `minimum` or more, as far as they fit int32.

    Example:
        >>> at_least(1)("100")
        100
    """

    def read(text: str) -> int:
        if (value := whole(text)) < minimum:
            raise argparse.ArgumentTypeError(f"expected {minimum} or more, got {value}")
        if value > at_most:
            raise argparse.ArgumentTypeError(f"expected at most {at_most}, got {value}")
        return value

    return read


def seed(text: str) -> int:
    """Read a seed as `torch.manual_seed` takes it, from -2^63 to 2^64 - 1.

    Example:
        >>> seed("-1")
        -1
    """
    if not -(2**63) <= (value := whole(text)) < 2**64:
        raise argparse.ArgumentTypeError(f"expected -2**63 to 2**64 - 1, got {value}")
    return value


def input_file(text: str) -> Path:
    """Read the path of a file that can be read, so that a missing one is found before the run.

    Example:
        >>> input_file("missing.txt")
        Traceback (most recent call last):
          ...
        argparse.ArgumentTypeError: cannot read 'missing.txt': No such file or directory
    """
    try:
        open_regular(text).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text!r}: {error.strerror}") from None
    return Path(text)


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """Return a reader of paths that can be written, so that a bad one is found before the run.

    Args:
        *suffixes: The endings to accept, as `".png"`; any if none is given.

    Returns:
        A function for `add_argument(type=...)`.

    Example:
        >>> str(output_file(".png", ".svg")("loss.svg"))
        'loss.svg'
    """

    def read(text: str) -> Path:
        path = Path(text)
        if suffixes and path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(
                f"expected a name ending in {' or '.join(suffixes)}, got {text!r}"
            )
        try:
            if path.exists() and not path.is_file():
                kind = "folder" if path.is_dir() else "device"
                raise argparse.ArgumentTypeError(f"expected a file, got the {kind} {text!r}")
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise argparse.ArgumentTypeError(f"cannot write {text!r}: {error.strerror}") from None
        return path

    return read


def output_folder(text: str) -> Path:
    """Read the path of a folder that can be written, or made.

    Example:
        >>> str(output_folder("runs/digits"))
        'runs/digits'
    """
    path = Path(text)
    there = next(above for above in (path, *path.absolute().parents) if above.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, got {text!r}: {there} is a file")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: {error.strerror}") from None
    return path


def versions() -> dict[str, str]:
    """Return what the numbers of a run depend on: the versions and the platform.

    Example:
        >>> sorted(versions())
        ['device', 'fgrad', 'jax', 'jaxlib', 'numpy', 'optax', 'platform', 'python']
    """
    packages = ("fgrad", "jax", "jaxlib", "numpy", "optax")
    return {
        **{package: importlib.metadata.version(package) for package in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": jax.devices()[0].device_kind,
    }


def run(main: Callable[[], int], program: str | None = None) -> NoReturn:
    """Run a script's `main` and exit with its code, any failure as one line on stderr.

    With `FGRAD_TRACEBACK` set in the environment, the traceback comes before that line. What
    standard output has no letter for is printed with backslashes; a closed one takes nothing.

    Args:
        main: The script; it returns its exit code.
        program: What that line calls it; by default the script's file name.

    Raises:
        SystemExit: Always: 2 for what was refused, which is a ValueError that a `raise` in fgrad or
            in the script made; 1 for a run that failed, and for a fault inside, which is any other
            exception; 130 for an interrupt, else what `main` returned.

    Example:
        >>> run(lambda: 0)
        Traceback (most recent call last):
        SystemExit: 0
    """
    program = program or Path(sys.argv[0]).name
    _open_streams()
    code: int | str | None
    try:
        code = main()
        sys.stdout.flush()
    except SystemExit as end:  # argparse's
        code = end.code
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        code = 1
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        refused = _is_refusal(error)
        code = 2 if refused else 1
        line = " ".join(str(error).split()) or type(error).__name__
        if not refused and not isinstance(error, _FAILURES):
            line = f"a fault in the program, which {_TRACEBACK}: {type(error).__name__}: {line}"
        with contextlib.suppress(OSError):  # nobody reads it
            if os.environ.get("FGRAD_TRACEBACK"):
                traceback.print_exc()
            print(f"{program}: error: {line}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # Python would try once more on its way out, and say so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    gc.freeze()  # what is left goes with the process: collecting it on the way out takes 0.1 s
    sys.exit(code)


def _open_streams() -> None:
    """See to it that all can be printed, and that no file is opened as a closed standard stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115  (to the end)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _FAILING:
        sys.stdout.reconfigure(errors="backslashreplace")


def _is_refusal(error: Exception) -> bool:
    """Return whether an exception is what fgrad or the script says of a value that it was given.

    By the place that it comes from: all that they refuse they refuse by `raise ValueError`. NumPy
    and Python raise others, for values that nobody has checked.
    """
    if not isinstance(error, ValueError) or isinstance(error, DivergenceError):
        return False
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    module = place.tb_frame.f_globals.get("__name__", "")
    instruction = place.tb_frame.f_code.co_code[place.tb_lasti]
    return module.partition(".")[0] in _OWN and instruction == dis.opmap["RAISE_VARARGS"]
