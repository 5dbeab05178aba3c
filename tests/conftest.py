"""Strict by default: what would pass unnoticed elsewhere is an error in these tests."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
