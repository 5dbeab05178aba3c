"""The same weights and outputs in PyTorch, fgrad and Flax NNX."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgrad import init, interop
from fgrad.random import Generator

torch = pytest.importorskip("torch")


class Net(nnx.Module):
    """A convolution and a Linear behind it, in NNX's layout."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Make the layers."""
        self.conv1 = nnx.Conv(1, 6, (5, 5), padding="VALID", rngs=rngs)
        self.fc1 = nnx.Linear(6 * 4 * 3, 7, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return (N, 7) for NHWC data."""
        x = jax.nn.relu(self.conv1(x))
        return self.fc1(x.reshape(x.shape[0], -1))


def test_one_set_of_weights_three_libraries(tmp_path: Path) -> None:
    """From a seed into PyTorch and NNX, and from PyTorch's own file back."""
    from safetensors.torch import load_file, save_file

    rng = Generator(0)
    params = {"conv1": init.conv2d(rng, 1, 6, 5), "fc1": init.linear(rng, 72, 7)}
    layers = torch.nn.ModuleDict({"conv1": torch.nn.Conv2d(1, 6, 5), "fc1": torch.nn.Linear(72, 7)})
    interop.save_safetensors(tmp_path / "ours", params)
    layers.load_state_dict(load_file(tmp_path / "ours"))
    x = torch.randn(2, 1, 8, 7, generator=torch.Generator().manual_seed(0))
    y = layers["fc1"](torch.relu(layers["conv1"](x)).flatten(1)).detach()

    net = interop.to_nnx(params, Net(nnx.Rngs(0)), flattened={"fc1": (6, 4, 3)})
    np.testing.assert_allclose(
        net(jnp.asarray(x.numpy()).transpose(0, 2, 3, 1)), y.numpy(), rtol=1.3e-6, atol=1e-5
    )
    save_file(layers.state_dict(), tmp_path / "theirs")
    back = interop.load_safetensors(tmp_path / "theirs", like=params)
    for layer, entries in params.items():
        for name, value in entries.items():
            np.testing.assert_array_equal(back[layer][name], value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int32])
def test_tensors_are_taken_as_they_are(dtype: object) -> None:
    """Of any dtype and layout, with a gradient or none; and shared with nothing."""
    tensor = torch.arange(6).reshape(2, 3).to(dtype).T
    params = interop.from_state_dict({"a": tensor})
    assert str(params["a"].dtype) == str(dtype).removeprefix("torch.")
    tensor.zero_()
    assert params["a"].astype(jnp.float32).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_parameters_and_written_copies() -> None:
    """A Parameter needs no detaching, and what comes out may be written to."""
    layer = torch.nn.Linear(2, 1)
    params = interop.from_state_dict(dict(layer.named_parameters()))
    back = {name: torch.from_numpy(x) for name, x in interop.to_state_dict(params).items()}
    assert layer.load_state_dict(back)
    back["weight"].zero_()
    np.testing.assert_array_equal(params["weight"], layer.weight.detach().numpy())


def warned(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a maker of a tensor of a kind that PyTorch warns about, with no warning."""

    def quiet() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return quiet


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.ones(2).to(torch.float8_e4m3fn), "torch.float8_e4m3fn torch.strided cpu"),
        (warned(lambda: torch.ones(2, dtype=torch.complex32)), "torch.complex32 torch.strided cpu"),
        (lambda: torch.eye(2).to_sparse(), "torch.float32 torch.sparse_coo cpu"),
        (lambda: torch.eye(2, dtype=torch.bfloat16).to_sparse(), "torch.bfloat16 torch.sparse_coo"),
        (lambda: torch.empty(2, device="meta"), "torch.float32 torch.strided meta"),
        (
            warned(lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
            "torch.qint8 torch.strided cpu",
        ),
    ],
    ids=["float8", "half-complex", "sparse", "sparse-bfloat16", "meta", "quantised"],
)
def test_a_tensor_that_numpy_cannot_hold_is_refused_by_name(
    make: Callable[[], Any], kind: str
) -> None:
    message = rf"^state_dict\['fc.weight'\]: expected a dense array .*, got Tensor {kind}"
    with pytest.raises(ValueError, match=message) as error:
        interop.from_state_dict({"fc.weight": make()})
    assert "\n" not in str(error.value)


def test_what_pytorch_has_yet_to_compute_is_computed() -> None:
    """A conjugate, and the negative that its imaginary part is, are only marked as such."""
    conjugate = torch.tensor([1 + 2j]).conj()
    assert conjugate.is_conj()
    assert conjugate.imag.is_neg()
    found = interop.from_state_dict({"a": conjugate, "b": conjugate.imag})
    assert (found["a"].item(), found["b"].item()) == (1 - 2j, -2.0)
