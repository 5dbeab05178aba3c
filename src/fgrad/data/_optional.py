"""Libraries that only some functions need, imported when they are called."""

import importlib
from types import ModuleType


def load(module: str) -> ModuleType:
    """Import a module of the extra `vision`, or say how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module}: expected it to be installed, got "{error}"; pip install "fgrad[vision]" '
            "brings it"
        ) from error
