"""The notes' models, and others, a file each: `init(rng) -> params` and `apply(params, x) -> y`."""

from fgrad.models import convnet, lenet, linear, mlp, quadratic

__all__ = ["convnet", "lenet", "linear", "mlp", "quadratic"]
