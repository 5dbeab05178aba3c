"""PyTorch's first lessons as pure JAX functions, with PyTorch's numbers.

Submodules load on first use, so that ``import fgrad`` costs no more than ``import jax``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgrad import (
        checkpoint,
        classifier,
        counting,
        data,
        files,
        functional,
        graph,
        init,
        interop,
        least_squares,
        models,
        optim,
        parity,
        plots,
        random,
        strict,
        training,
        types,
    )
    from fgrad.counting import summary
    from fgrad.training import DivergenceError, TrainState, fit, init_state, make_step

__version__ = "0.1.0"

__all__ = [
    "DivergenceError",
    "TrainState",
    "checkpoint",
    "classifier",
    "counting",
    "data",
    "files",
    "fit",
    "functional",
    "graph",
    "init",
    "init_state",
    "interop",
    "least_squares",
    "make_step",
    "models",
    "optim",
    "parity",
    "plots",
    "random",
    "strict",
    "summary",
    "training",
    "types",
]

# The names that are not submodules, and the submodule where each is.
_HOMES = {
    "DivergenceError": "training",
    "TrainState": "training",
    "fit": "training",
    "init_state": "training",
    "make_step": "training",
    "summary": "counting",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"fgrad.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"fgrad.{name}")
    raise AttributeError(f"module 'fgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
