r"""`python -m fgrad.parity`: record a PyTorch program, check a JAX port of it, show a recording.

Your own code is named as `module:attribute` or as `file.py:attribute`:

    python -m fgrad.parity record run.parity --model train.py:model --loss train.py:criterion \
        --optimizer train.py:optimizer --batches train.py:batches --steps 3
    python -m fgrad.parity check run.parity --apply port.py:apply --loss port.py:loss \
        --optimizer port.py:optimizer --html report.html
    python -m fgrad.parity show run.parity

It exits with 0 where there is parity, with 1 where there is a mismatch, with 2 on bad usage.
"""

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any, TypeAlias

from fgrad import cli, files, parity
from fgrad.parity.contents import contents
from fgrad.parity.page import to_html
from fgrad.parity.recording import read
from fgrad.parity.report import LIMIT, to_text

PROGRAM = "python -m fgrad.parity"
USER_CODE = "MODULE:NAME"

# What `check` takes besides, by the name of its argument.
OPTIONAL = {
    "params": "the port's own parameters, or its conversion of a state_dict",
    "state": "the port's own state, such as running statistics",
    "mapping": "which of the port's parameters is which of PyTorch's",
    "names": "which of the port's named values is which module's output",
    "flattened": "what shape was flattened into a layer",
    "batches": "the port's own batches",
}

Loaded: TypeAlias = Any
"""What the user's code holds under a name."""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="record|check|show")

    record = commands.add_parser("record", help="run a PyTorch program, write a recording")
    record.add_argument("path", type=cli.output_file(), help="the recording to write")
    _add_user_code(
        record,
        required=True,
        model="torch.nn.Module",
        loss="criterion(output, target)",
        optimizer="torch.optim.Optimizer over the model's parameters",
        batches="pairs (x, target): a list, a DataLoader",
    )
    record.add_argument("--steps", type=cli.at_least(1), metavar="N", help="(one a batch)")
    record.set_defaults(run=run_record)

    check = commands.add_parser("check", help="run a JAX port against a recording")
    add = check.add_argument
    add("path", type=cli.input_file, help="the recording")
    _add_user_code(
        check,
        required=True,
        apply="apply(params, x)",
        loss="loss(output, target)",
        optimizer="optax transformation",
    )
    _add_user_code(check, required=False, **OPTIONAL)
    add("--mode", choices=["restart", "free"], default="restart", help="(restart)")
    add("--rtol", type=cli.finite, metavar="R", help="relative tolerance (measured)")
    add("--atol", type=cli.finite, metavar="A", help="absolute tolerance (measured)")
    add("--all", action="store_true", help=f"list all mismatches, not only {LIMIT}")
    add("--html", type=cli.output_file(), metavar="FILE", help="write a page as well")
    check.set_defaults(run=run_check)

    show = commands.add_parser("show", help="print what is in a recording")
    show.add_argument("path", type=cli.input_file, help="the recording")
    show.set_defaults(run=run_show)
    return parser.parse()


def _add_user_code(parser: argparse.ArgumentParser, *, required: bool, **names: str) -> None:
    for name, text in names.items():
        parser.add_argument(f"--{name}", required=required, metavar=USER_CODE, help=text)


def run_record(args: argparse.Namespace) -> int:
    """Record, and say what was written."""
    model, loss, optimizer, batches = (
        load(getattr(args, name)) for name in ("model", "loss", "optimizer", "batches")
    )
    parity.record(
        model, loss, optimizer, batches, path=args.path, steps=args.steps, progress=progress
    )
    print(contents(read(args.path)))
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Check, print the report, and write it where asked for."""
    given = {
        name: load(getattr(args, name)) for name in OPTIONAL if getattr(args, name) is not None
    }
    report = parity.check(
        args.path,
        load(args.apply),
        load(args.loss),
        load(args.optimizer),
        mode=args.mode,
        rtol=args.rtol,
        atol=args.atol,
        progress=progress,
        **given,
    )
    if args.html:
        files.write_whole(args.html, to_html(report).encode())
    print(to_text(report, limit=None if args.all else LIMIT))
    return 0 if report.ok else 1


def run_show(args: argparse.Namespace) -> int:
    """Print what is in a recording."""
    print(contents(read(args.path)))
    return 0


def load(name: str) -> Loaded:
    """Return what `module:attribute` or `file.py:attribute` names.

    Args:
        name: The module as in an import, or the path of a file; of the attribute, dots are allowed.

    Returns:
        The object; a file that is named twice is run once.

    Raises:
        ValueError: If there is no such thing, or running the code fails.

    Example:
        >>> load("math:pi")
        3.141592653589793
    """
    home, colon, attribute = name.rpartition(":")
    if not (home and colon and attribute):
        raise ValueError(f"expected module:attribute or file.py:attribute, got {name!r}")
    try:
        value: Any = (
            _run_file(Path(home)) if home.endswith(".py") else importlib.import_module(home)
        )
    except (Exception, SystemExit) as error:  # of any kind: it is the user's code
        raise ValueError(f"cannot load {home}: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ValueError(f"{name}: {home} has no {attribute}")
        value = getattr(value, part)
    return value


def _run_file(path: Path) -> Loaded:
    """Return a file as a module, with its folder on the path as `python file.py` has it."""
    path = path.resolve()
    name = path.stem if path.stem not in sys.modules else str(path)
    for known in (path.stem, str(path)):
        if getattr(sys.modules.get(known), "__file__", None) == str(path):
            return sys.modules[known]
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError("no such file")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def progress(done: int, total: int, text: str) -> None:
    """Show how far the run is, on a terminal's last line.

    Example:
        >>> progress(1, 3, "step 1")  # nothing, where stderr is no terminal
    """
    if sys.stderr.isatty():
        line = "" if done == total else f"[{done}/{total}] {text}"
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Run the command."""
    args = parse()
    return args.run(args)


if __name__ == "__main__":
    cli.run(main, program=PROGRAM)
