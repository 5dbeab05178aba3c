"""`torch.nn.functional` as pure JAX functions: its names, arguments, defaults, results, gradients.

Usually imported as `F`. Every function works under `jax.jit`, `jax.vmap` and `jax.grad`, in
float64, float32, bfloat16 and float16; the half types compute in float32 and round at the end.
Wherever PyTorch has a convention (at ties and kinks, at infinities, for empty batches), it is
PyTorch's. What PyTorch refuses raises a ValueError that names the argument, and so do arrays of
different types, and shapes that would only broadcast by accident.

PyTorch's deprecated `size_average` and `reduce` keep their places in the losses' signatures and
must stay None; `inplace` keeps its place and must stay False.
"""

from fgrad.functional.activations import (
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from fgrad.functional.classification_losses import cross_entropy, nll_loss
from fgrad.functional.convolution import conv2d, conv2d_relu_max_pool2d
from fgrad.functional.distribution_losses import binary_cross_entropy_with_logits, kl_div
from fgrad.functional.layers import dropout, flatten, linear
from fgrad.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from fgrad.functional.regression_losses import huber_loss, l1_loss, mse_loss, smooth_l1_loss

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "conv2d_relu_max_pool2d",
    "cross_entropy",
    "dropout",
    "flatten",
    "gelu",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "smooth_l1_loss",
    "softmax",
    "tanh",
]
