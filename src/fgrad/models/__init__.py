"""The notes' models, a file each: `init(rng) -> params` and `apply(params, x) -> y`."""

from fgrad.models import linear, quadratic

__all__ = ["linear", "quadratic"]
