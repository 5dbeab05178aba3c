"""Run PyTorch, and write what the tests compare fgrad with where PyTorch is not installed.

Needs PyTorch (pip install -e ".[parity]"). The files say which versions made them; made again by
the same versions on the same processor, they are the same.
"""

import importlib
import importlib.util
from pathlib import Path

from fgrad import cli

REFERENCES = Path(__file__).parent.parent / "tests" / "references"
SUBJECTS = ("cnn", "functional", "parity", "random", "regression")


def main() -> int:
    """Record the subjects that were asked for, or all."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("subject", nargs="*", help=f"among {', '.join(SUBJECTS)} (all)")
    parser.add_argument(
        "--output", type=Path, default=REFERENCES, metavar="FOLDER", help="(tests/references)"
    )
    args = parser.parse()
    if unknown := set(args.subject) - set(SUBJECTS):
        parser.error(f"argument subject: expected {', '.join(SUBJECTS)}, got {', '.join(unknown)}")
    if not args.output.is_dir():
        parser.error(f"argument --output: expected a folder, got '{args.output}'")
    if importlib.util.find_spec("torch") is None:
        parser.error('PyTorch is not installed: pip install -e ".[parity]"')
    for subject in args.subject or SUBJECTS:
        print(f"recording {subject}")
        importlib.import_module(f"recorders.{subject}").record(args.output)
    return 0


if __name__ == "__main__":
    cli.run(main)
