"""Training: one pure step, and whole runs of it as one compiled scan.

`step.py` makes the step, `run.py` runs it, and `_in_place.py` is what a CPU needs in order to
update large parameters where they lie.
"""

from fgrad.training.run import DivergenceError, check_finite, fit
from fgrad.training.step import Step, TrainState, init_state, make_step

__all__ = [
    "DivergenceError",
    "Step",
    "TrainState",
    "check_finite",
    "fit",
    "init_state",
    "make_step",
]
