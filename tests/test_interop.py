"""Weights to and from elsewhere: nothing lost, nothing shared, every difference named."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from fgrad import init, interop
from fgrad.random import Generator
from fgrad.types import Params

with np.load(Path(__file__).parent / "references" / "interop.npz", allow_pickle=False) as _file:
    REFERENCES = dict(_file)
STATE_DICT = {
    name.removeprefix("state_dict."): value
    for name, value in REFERENCES.items()
    if name.startswith("state_dict.")
}
FLATTENED = {"fc": (3, 2, 3)}


class Net(nnx.Module):
    """The network of the references, in NNX's layout."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Make layers whose weights are of no use yet."""
        self.conv1 = nnx.Conv(2, 4, (3, 2), padding=1, feature_group_count=2, rngs=rngs)
        self.conv2 = nnx.Conv(4, 3, (3, 3), 2, padding="VALID", use_bias=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.fc = nnx.Linear(18, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return (N, 5) for NHWC data."""
        x = self.conv2(jax.nn.relu(self.conv1(x)))
        return self.fc(x.reshape(x.shape[0], -1))


def _params(seed: int = 0) -> Params:
    rng = Generator(seed)
    return {
        "conv1": init.conv2d(rng, 2, 4, (3, 2), groups=2),
        "conv2": init.conv2d(rng, 4, 3, 3, bias=False),
        "fc": init.linear(rng, 18, 5),
    }


def assert_same(got: Params, want: Params) -> None:
    """Compare names, their order, dtypes and numbers."""
    left, right = interop.to_state_dict(got), interop.to_state_dict(want)
    assert list(left) == list(right)
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        np.testing.assert_array_equal(value, right[name])


NAMES = st.text(st.characters(exclude_characters=".", codec="utf-8"), min_size=1, max_size=4)
LEAVES = st.sampled_from(["float32", "bfloat16", "float16", "int32", "bool"]).flatmap(
    lambda dtype: st.integers(0, 3).map(lambda n: jnp.arange(2 * n).reshape(2, n).astype(dtype))
)
TREES = st.dictionaries(
    NAMES, LEAVES | st.dictionaries(NAMES, LEAVES, min_size=1, max_size=3), min_size=1, max_size=3
)


@given(params=TREES)
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_on_the_way(
    params: Params, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There and back through a state_dict and a file, for names and dtypes of all kinds."""
    assert_same(interop.from_state_dict(interop.to_state_dict(params)), params)
    path = tmp_path_factory.getbasetemp() / "params.safetensors"
    interop.save_safetensors(path, params)
    assert_same(interop.load_safetensors(path, like=params), params)


def test_pytorchs_weights_give_pytorchs_outputs_in_nnx() -> None:
    """The recorded state_dict and input through NNX, and the weights back out of it."""
    params = interop.from_state_dict(STATE_DICT, like=_params())
    net = interop.to_nnx(params, Net(nnx.Rngs(0)), flattened=FLATTENED)
    y = net(jnp.asarray(REFERENCES["x"]).transpose(0, 2, 3, 1))
    np.testing.assert_allclose(y, REFERENCES["y"], rtol=1.3e-6, atol=1e-5)
    assert_same(interop.from_nnx(net, like=params, flattened=FLATTENED), params)


def test_without_flattened_the_outputs_differ() -> None:
    """What the argument is for: no shape tells the orders apart."""
    params = interop.from_state_dict(STATE_DICT)
    y = interop.to_nnx(params, Net(nnx.Rngs(0)))(jnp.asarray(REFERENCES["x"]).transpose(0, 2, 3, 1))
    assert np.abs(y - REFERENCES["y"]).max() > 0.01


def test_to_nnx_leaves_the_module_alone() -> None:
    """The copy takes the weights, in the module's dtypes, and draws for itself."""
    module = Net(nnx.Rngs(0))
    before = interop.from_nnx(module)
    copy = interop.to_nnx(_params(), module)
    copy.dropout(jnp.ones(3))
    assert_same(interop.from_nnx(module), before)
    assert module.dropout.rngs is not None
    assert module.dropout.rngs.count.get_value() == 0
    half = nnx.Linear(18, 5, param_dtype=jnp.float16, rngs=nnx.Rngs(0))
    assert interop.to_nnx(_params()["fc"], half).kernel.get_value().dtype == jnp.float16


def test_nothing_is_shared() -> None:
    """Writing to what was given or returned changes nothing on the other side."""
    # JAX takes over memory that is aligned so, unless it is told to copy.
    memory = np.ones(64, np.float32)
    start = -memory.ctypes.data % 64 // 4
    given = {"fc.bias": memory[start : start + 2]}
    params = interop.from_state_dict(given)
    checked = interop.from_state_dict(given, like=params)
    given["fc.bias"][:] = 0
    returned = interop.to_state_dict(params)
    returned["fc.bias"][:] = 7
    assert params["fc"]["bias"].tolist() == checked["fc"]["bias"].tolist() == [1, 1]


def test_names_are_dotted_paths(tmp_path: Path) -> None:
    """However deep, in the parameters' own order, which the caller's dict keeps."""
    params = {"b": {"a": {"weight": jnp.ones(1)}}, "a": jnp.ones(2)}
    assert list(interop.to_state_dict(params)) == ["b.a.weight", "a"]
    interop.save_safetensors(tmp_path / "x", params)
    assert isinstance(params["a"], jax.Array)
    assert interop.from_state_dict({"b.a.weight": np.int8(3)})["b"]["a"]["weight"] == 3


def test_like_gives_dtypes_and_empty_parts() -> None:
    """As load_state_dict does, numbers take the dtypes of what they go into."""
    like = {"0": {"weight": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}, "1": {}}
    params = interop.from_state_dict({"0.weight": np.array([1.0, 2.0])}, like)
    assert params["0"]["weight"].dtype == jnp.bfloat16
    assert params["1"] == {}


def test_all_differences_in_one_error() -> None:
    """Missing, extra and wrongly shaped, each with its name."""
    state_dict = {**STATE_DICT, "fc.weight": np.zeros((18, 5)), "fc.scale": np.zeros(3)}
    del state_dict["conv1.bias"], state_dict["conv2.weight"]
    with pytest.raises(ValueError, match="state_dict: expected the entries of like") as caught:
        interop.from_state_dict(state_dict, like=_params())
    assert str(caught.value).splitlines()[1:] == [
        "  missing: conv1.bias of shape (4,)",
        "  missing: conv2.weight of shape (3, 4, 3, 3)",
        "  shape: fc.weight, expected (5, 18), got (18, 5)",
        "  extra: fc.scale of shape (3,)",
    ]
    params = _params()
    params["fc"] = {"weight": jnp.zeros((5, 17)), "gain": jnp.zeros(1)}
    with pytest.raises(ValueError, match="params: expected the entries of module") as caught:
        interop.to_nnx(params, Net(nnx.Rngs(0)))
    assert str(caught.value).splitlines()[1:] == [
        "  missing: fc.bias of shape (5,)",
        "  shape: fc.weight, expected (5, 18), got (5, 17)",
        "  extra: fc.gain of shape (1,)",
    ]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all, and nothing left lying about."""
    path = tmp_path / "net.safetensors"
    interop.save_safetensors(path, {"a": jnp.ones(1)})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        interop.save_safetensors(path, {"a": jnp.zeros(1)})
    assert interop.load_safetensors(path)["a"].tolist() == [1.0]
    assert list(tmp_path.iterdir()) == [path]


def test_transposed_arrays_are_written_in_their_own_order(tmp_path: Path) -> None:
    """A view is not contiguous, which the file format does not know."""
    value = np.arange(6, dtype=np.float32).reshape(2, 3).T
    interop.save_safetensors(tmp_path / "view", {"a": value})
    np.testing.assert_array_equal(interop.load_safetensors(tmp_path / "view")["a"], value)


class Normed(nnx.Module):
    """A module with parameters of other layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Make them."""
        self.norm = nnx.LayerNorm(2, rngs=rngs)
        self.embed = nnx.Embed(2, 3, rngs=rngs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interop.to_state_dict({"a.b": jnp.ones(1)}), "params: expected keys .* 'a.b'"),
        (lambda: interop.to_state_dict({"": jnp.ones(1)}), "params: expected keys that are names"),
        (lambda: interop.to_state_dict({0: jnp.ones(1)}), "params: expected keys .* got 0"),
        (lambda: interop.to_state_dict([jnp.ones(1)]), "params: expected nested dicts, got list"),
        (
            lambda: interop.to_state_dict({"a": {"b": None}}),
            r"params\['a\.b'\]: expected an array, got NoneType",
        ),
        (lambda: interop.from_state_dict([1]), "state_dict: expected a dict, got list"),
        (
            lambda: interop.from_state_dict({"a..b": jnp.ones(1)}),
            "state_dict: expected names with no empty part, got 'a..b'",
        ),
        (lambda: interop.from_state_dict({0: jnp.ones(1)}), "state_dict: expected names .* got 0"),
        (lambda: interop.from_state_dict({}, like=[]), "like: expected nested dicts, got list"),
        (
            lambda: interop.from_state_dict({"a": np.ones(1)}, like={"a": None}),
            r"like\['a'\]: expected an array, got NoneType",
        ),
        (
            lambda: interop.from_state_dict({"a": np.complex64(1j)}, like={"a": np.float32(0)}),
            "expected the entries of like, got differences\n"
            "  dtype: a, expected real numbers, float32, got complex64",
        ),
        (
            lambda: interop.to_nnx(
                {"weight": jnp.ones((1, 1), complex)},
                nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0)),
            ),
            "dtype: weight, expected real numbers, float32, got complex64",
        ),
        (lambda: interop.from_state_dict({"a": "text"}), r"state_dict\['a'\]: expected an array"),
        (
            lambda: interop.from_state_dict({"a": [[1, 2], [3]]}),
            r"state_dict\['a'\]: expected a dense array of a dtype .*, got list: .* inhomogeneous",
        ),
        (lambda: interop.from_state_dict({"a": None}), r"state_dict\['a'\]: .* got NoneType"),
        (
            lambda: interop.from_state_dict({"a": jnp.ones(1), "a.b": jnp.ones(1)}),
            "state_dict: expected a.b to be no part of another",
        ),
        (
            lambda: interop.from_state_dict({"a.b": jnp.ones(1), "a": jnp.ones(1)}),
            "state_dict: expected a to be no part of another",
        ),
        (
            lambda: interop.from_state_dict({"a": np.ones(1), "b": np.ones(1, int)}),
            r"state_dict: expected jax_enable_x64 .* got a \(float64\), b \(int64\)",
        ),
        (
            lambda: interop.from_nnx(Normed(nnx.Rngs(0))),
            "module: expected the parameters of Linear and Conv layers, got embed.embedding, "
            "norm.bias, norm.scale",
        ),
        (
            lambda: interop.to_nnx(_params(), Net(nnx.Rngs(0)), flattened={"fc": (3, 2, 4)}),
            r"flattened\['fc'\]: expected .*\{'fc': 18\}, got \(3, 2, 4\)",
        ),
        (
            lambda: interop.from_nnx(Net(nnx.Rngs(0)), flattened={"fc1": (3, 2, 3)}),
            r"flattened\['fc1'\]: expected the name of a Linear",
        ),
    ],
)
def test_refusals(call: Callable[[], object], message: str) -> None:
    """Each names its argument, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        call()


def test_a_file_takes_only_its_own_dtypes(tmp_path: Path) -> None:
    """What the format has no name for is refused with its own, and nothing written."""
    with pytest.raises(ValueError, match=r"^params: expected dtypes .*got a \(complex128\): "):
        interop.save_safetensors(tmp_path / "x", {"a": np.ones(1, np.complex128)})
    with pytest.raises(ValueError, match=r"^params\['a'\]: expected an array, got NoneType"):
        interop.save_safetensors(tmp_path / "x", {"a": None})
    assert list(tmp_path.iterdir()) == []


def test_complex_numbers_stay_complex() -> None:
    """Where `like` is complex they fit."""
    like = {"a": jax.ShapeDtypeStruct((), jnp.complex64)}
    assert interop.from_state_dict({"a": np.complex64(1j)}, like)["a"] == 1j


def test_no_safetensors_file(tmp_path: Path) -> None:
    """The path is named."""
    (tmp_path / "x").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"path: expected a safetensors file, got .*x: "):
        interop.load_safetensors(tmp_path / "x")


def test_sixty_four_bits_are_kept_where_jax_keeps_them() -> None:
    """With jax_enable_x64 nothing is refused, and nothing rounded."""
    with jax.enable_x64(True):
        params = interop.from_state_dict({"a": np.array([1 / 3])})
        assert params["a"].dtype == np.float64
        assert params["a"].item() == 1 / 3


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_a_dtype_that_numpy_has_not_is_refused_by_name(tmp_path: Path, dtype: str) -> None:
    entries = {
        "bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "fc.weight": {"dtype": dtype, "shape": [2, 2], "data_offsets": [4, 8]},
    }
    header = json.dumps(entries).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=rf"^path: .* got fc.weight \({dtype}\) in .*x$"):
        interop.load_safetensors(tmp_path / "x")


def test_a_file_that_is_not_read_is_called_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"expected a regular file, got .*model.safetensors'$"):
        interop.load_safetensors(path)
    with pytest.raises(IsADirectoryError):
        interop.load_safetensors(tmp_path)
    with pytest.raises(FileNotFoundError):
        interop.load_safetensors(tmp_path / "none")
    path.unlink()
    interop.save_safetensors(path, {"a": jnp.ones(1)})

    def forbid(name: str, flags: int) -> int:  # as chmod 000 does, but for root as well
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    monkeypatch.setattr(os, "open", forbid)
    with pytest.raises(PermissionError, match=r"Permission denied: .*model.safetensors'$"):
        interop.load_safetensors(path)
