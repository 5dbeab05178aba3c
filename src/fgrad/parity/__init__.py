"""A PyTorch training run beside its port to JAX: the first difference, and what causes it."""

from fgrad.parity.results import STAGES, Cause, Comparison, Report

__all__ = ["STAGES", "Cause", "Comparison", "Report"]
