"""Strict by default: what would pass unnoticed elsewhere is an error in these tests."""

import hypothesis
import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)  # for what is spread over devices
if jax.default_backend() != "cpu":  # left to itself, a GPU or TPU drops bits of float32's products
    jax.config.update("jax_default_matmul_precision", "highest")

# The same examples every time, and as long as compiling takes.
hypothesis.settings.register_profile("fgrad", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("fgrad")
