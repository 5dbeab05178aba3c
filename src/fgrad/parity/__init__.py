"""A PyTorch training run beside its port to JAX: the first difference, and what causes it."""

from fgrad.parity.assertion import assert_parity
from fgrad.parity.checking import check
from fgrad.parity.recorder import record
from fgrad.parity.results import STAGES, Cause, Comparison, Report

__all__ = ["STAGES", "Cause", "Comparison", "Report", "assert_parity", "check", "record"]
