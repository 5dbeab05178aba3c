"""One helper for every comparison with an installed PyTorch: forward, and every gradient."""

import warnings
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from torch_functions import torch_function

from fgrad import functional

# Relative and absolute. Numbers are of order one, and what cancels has no relative accuracy, so
# float64 is held to 1e-12 of the larger of 1 and the number itself; float32 to the defaults of
# torch.testing.assert_close. The half types are held to two units in the last place: PyTorch
# rounds between the steps of a loss where fgrad rounds once.
TOLERANCES = {
    "float64": (1e-12, 1e-12),
    "float32": (1.3e-6, 1e-5),
    "bfloat16": (2**-6, 2**-6),
    "float16": (2**-9, 2**-9),
}


class Check(Protocol):
    """Compares one call with PyTorch's."""

    def __call__(
        self,
        name: str,
        arrays: Mapping[str, npt.ArrayLike],
        *,
        dtype: str = "float64",
        dtype_argument: str | None = None,
        constants: Collection[str] = (),
        **options: object,
    ) -> None:
        """Assert that `functional.name(**arrays, **options)` is PyTorch's, gradients included."""


@pytest.fixture
def parity(record_property: Callable[[str, object], None]) -> Check:
    """Return the helper; each largest error is recorded for `benchmarks/accuracy.py`."""
    torch = pytest.importorskip("torch")

    def check(
        name: str,
        arrays: Mapping[str, npt.ArrayLike],
        *,
        dtype: str = "float64",
        dtype_argument: str | None = None,
        constants: Collection[str] = (),
        **options: object,
    ) -> None:
        if dtype_argument is not None:
            options = {**options, "dtype": dtype_argument}
        values = {key: np.asarray(value) for key, value in arrays.items()}
        floats = {key for key, value in values.items() if value.dtype.kind == "f"}
        varied = floats - set(constants)
        with warnings.catch_warnings():
            # PyTorch's remarks about its own API are not what is compared.
            warnings.simplefilter("ignore")
            expected = _in_torch(torch, name, values, floats, varied, dtype, options)
        with jax.enable_x64(dtype == "float64"):
            actual = _in_jax(name, values, floats, varied, dtype, options)
        assert actual.keys() == expected.keys()
        # What was converted is as rough as the rougher type.
        rtol, atol = max(TOLERANCES[dtype], TOLERANCES[dtype_argument or dtype])
        largest = 0.0
        for key, value in expected.items():
            assert actual[key].shape == value.shape, key
            np.testing.assert_allclose(actual[key], value, rtol=rtol, atol=atol, err_msg=key)
            finite = np.isfinite(value)
            error = np.abs(actual[key][finite] - value[finite])
            scale = np.maximum(np.abs(value[finite]), 1)
            largest = max(largest, float(np.max(error / scale, initial=0)))
        record_property("parity", (name, dtype_argument or dtype, largest))

    return check


def _cotangent(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.random.default_rng(1).uniform(-1, 1, shape)


def _in_torch(
    torch: ModuleType,
    name: str,
    values: Mapping[str, npt.NDArray[Any]],
    floats: Collection[str],
    varied: Collection[str],
    dtype: str,
    options: Mapping[str, object],
) -> dict[str, npt.NDArray[np.float64]]:
    function = torch_function(name)
    kind = getattr(torch, dtype)
    tensors = {
        key: torch.tensor(value, dtype=kind if key in floats else torch.int64)
        for key, value in values.items()
    }
    for key in varied:
        tensors[key].requires_grad_()
    options = {
        key: getattr(torch, str(value)) if key == "dtype" else value
        for key, value in options.items()
    }
    outputs = function(**tensors, **options)
    output, *extra = outputs if isinstance(outputs, tuple) else (outputs,)
    results = {"output": output, **{f"extra {i}": value for i, value in enumerate(extra)}}
    inputs = [tensors[key] for key in sorted(varied)]
    cotangent = torch.tensor(_cotangent(tuple(output.shape)), dtype=output.dtype)
    grads = torch.autograd.grad(output, inputs, cotangent) if inputs else ()
    results |= {f"grad of {key}": grad for key, grad in zip(sorted(varied), grads, strict=True)}
    assert output.dtype == options.get("dtype", kind)
    return {key: value.detach().to(torch.float64).numpy() for key, value in results.items()}


def _in_jax(
    name: str,
    values: Mapping[str, npt.NDArray[Any]],
    floats: Collection[str],
    varied: Collection[str],
    dtype: str,
    options: Mapping[str, object],
) -> dict[str, npt.NDArray[np.float64]]:
    function = getattr(functional, name)
    arrays = {
        key: jnp.asarray(value, dtype if key in floats else None) for key, value in values.items()
    }
    fixed = {key: value for key, value in arrays.items() if key not in varied}

    @jax.jit
    def run(arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        def call(arrays: Mapping[str, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
            outputs = function(**fixed, **arrays, **options)
            output, *extra = outputs if isinstance(outputs, tuple) else (outputs,)
            return output, tuple(extra)

        output, pull, extra = jax.vjp(call, arrays, has_aux=True)
        assert output.dtype == options.get("dtype", dtype)
        (grads,) = pull(jnp.asarray(_cotangent(output.shape), output.dtype))
        return (
            {"output": output}
            | {f"extra {i}": value for i, value in enumerate(extra)}
            | {f"grad of {key}": grad for key, grad in grads.items()}
        )

    results = run({key: arrays[key] for key in varied})
    return {key: np.asarray(value).astype(np.float64) for key, value in results.items()}
