"""fgrad.functional against PyTorch's recorded results; PyTorch is not needed."""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from fgrad import functional

# float64 relative to the larger of 1 and the number; float32 by torch.testing.assert_close.
TOLERANCES = {"float64": (1e-12, 1e-12), "float32": (1.3e-6, 1e-5)}

PATH = Path(__file__).parent / "references" / "functional.npz"


@functools.cache
def references() -> dict[str, npt.NDArray[Any]]:
    """Return the whole file."""
    with np.load(PATH) as file:
        return dict(file)


INDEX = json.loads(str(references()["index"]))


def test_references_say_what_made_them() -> None:
    """So that a difference can be traced."""
    assert set(INDEX["versions"]) == {"torch", "numpy", "python"}


def test_every_function_has_references() -> None:
    """Dropout's randomness is not PyTorch's."""
    recorded = {case["name"] for case in INDEX["cases"]}
    assert recorded == set(functional.__all__) - {"dropout"}


@pytest.mark.parametrize(
    ("number", "case"),
    list(enumerate(INDEX["cases"])),
    ids=[f"{case['name']}-{case['dtype']}-{n}" for n, case in enumerate(INDEX["cases"])],
)
def test_forward_and_gradients(number: int, case: dict[str, Any]) -> None:
    """The output, and every gradient that PyTorch has."""
    prefix = f"{number}/"
    found = {
        key.removeprefix(prefix): value
        for key, value in references().items()
        if key.startswith(prefix)
    }
    with jax.enable_x64(case["dtype"] == "float64"):
        arrays = {
            key.removeprefix("argument/"): jnp.asarray(value)
            for key, value in found.items()
            if key.startswith("argument/")
        }
        varied = [key.removeprefix("grad/") for key in found if key.startswith("grad/")]
        fixed = {key: value for key, value in arrays.items() if key not in varied}

        @jax.jit
        def run(
            arrays: dict[str, jax.Array], cotangent: jax.Array
        ) -> tuple[jax.Array, dict[str, jax.Array]]:
            function = getattr(functional, case["name"])
            output, pull = jax.vjp(
                lambda arrays: function(**fixed, **arrays, **case["options"]), arrays
            )
            (grads,) = pull(cotangent)
            return output, grads

        output, grads = run({key: arrays[key] for key in varied}, jnp.asarray(found["cotangent"]))
    rtol, atol = TOLERANCES[case["dtype"]]
    np.testing.assert_allclose(output, found["output"], rtol, atol, strict=True)
    for key in varied:
        np.testing.assert_allclose(
            grads[key], found[f"grad/{key}"], rtol, atol, strict=True, err_msg=key
        )
