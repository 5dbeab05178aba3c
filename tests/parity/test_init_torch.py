"""fgrad's initialisation beside an installed PyTorch's."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgrad import init
from fgrad.random import Generator

torch = pytest.importorskip("torch")

DTYPES = {"float32": torch.float32, "float64": torch.float64}
SEEDS = st.integers(0, 2**64 - 1)
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.tuples(
    *[st.integers(1, 6) for _ in range(4)]
)
NONLINEARITIES = ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]


@given(
    seed=SEEDS,
    sizes=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    channels=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)) | st.integers(1, 5),
    groups=st.integers(1, 3),
    bias=st.booleans(),
    dtype=st.sampled_from(list(DTYPES)),
)
@settings(max_examples=100, deadline=None)
def test_layers_bit_for_bit(
    seed: int,
    sizes: tuple[int, int],
    channels: tuple[int, int],
    kernel: int | tuple[int, int],
    groups: int,
    bias: bool,
    dtype: str,
) -> None:
    """A Linear and then a Conv2d of any size from one seed."""
    torch.manual_seed(seed)
    ins, outs = channels[0] * groups, channels[1] * groups
    theirs = [
        torch.nn.Linear(*sizes, bias=bias, dtype=DTYPES[dtype]),
        torch.nn.Conv2d(ins, outs, kernel, groups=groups, bias=bias, dtype=DTYPES[dtype]),
    ]
    rng = Generator(seed)
    with jax.enable_x64(True):
        ours = [
            init.linear(rng, *sizes, bias=bias, dtype=dtype),
            init.conv2d(rng, ins, outs, kernel, groups=groups, bias=bias, dtype=dtype),
        ]
        for params, layer in zip(ours, theirs, strict=True):
            state_dict = layer.state_dict()
            assert list(params) == list(state_dict)
            for name, value in params.items():
                assert value.dtype == dtype
                np.testing.assert_array_equal(value, state_dict[name].numpy())


@given(
    seed=SEEDS,
    shape=SHAPES,
    gain=st.floats(0, 3),
    a=st.floats(-2, 2) | st.just(0),
    mode=st.sampled_from(["fan_in", "fan_out"]),
    nonlinearity=st.sampled_from(NONLINEARITIES),
    dtype=st.sampled_from(list(DTYPES)),
)
@settings(max_examples=100, deadline=None)
def test_families(
    seed: int,
    shape: tuple[int, ...],
    gain: float,
    a: float,
    mode: str,
    nonlinearity: str,
    dtype: str,
) -> None:
    """Uniform ones bit for bit, normal ones as near as randn."""
    calls = {
        "uniform": (a, a + gain),
        "xavier_uniform": (gain,),
        "kaiming_uniform": (a, mode, nonlinearity),
        "normal": (a, gain),
        "xavier_normal": (gain,),
        "kaiming_normal": (a, mode, nonlinearity),
    }
    torch.manual_seed(seed)
    rng = Generator(seed)
    with jax.enable_x64(True):
        for name, arguments in calls.items():
            want = torch.empty(shape, dtype=DTYPES[dtype])
            getattr(torch.nn.init, f"{name}_")(want, *arguments)
            got = np.asarray(getattr(init, name)(rng, shape, *arguments, dtype=dtype))
            assert got.dtype == dtype
            if "normal" in name:
                eps = float(np.finfo(dtype).eps)
                np.testing.assert_allclose(got, want.numpy(), rtol=8 * eps, atol=64 * eps)
            else:
                np.testing.assert_array_equal(got, want.numpy(), err_msg=name)


@pytest.mark.parametrize("param", [None, 0, 0.2, -1.5])
@pytest.mark.parametrize("nonlinearity", [*NONLINEARITIES, "conv1d", "conv_transpose3d"])
def test_gains(nonlinearity: str, param: float | None) -> None:
    """Every gain, to the last bit."""
    want = torch.nn.init.calculate_gain(nonlinearity, param)
    assert init.calculate_gain(nonlinearity, param) == want
