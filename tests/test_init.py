"""PyTorch's initialisation, against recorded parameters and the distributions' own numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from fgrad import init
from fgrad.random import Generator, Rng

with np.load(Path(__file__).parent / "references" / "init.npz", allow_pickle=False) as _file:
    REFERENCES = dict(_file)


def test_one_seed_after_another_call_equals_pytorch() -> None:
    """One generator through every layer and family gives PyTorch's parameters."""
    rng = Generator(0)
    with jax.enable_x64(True):
        for i, (function, arguments) in enumerate(json.loads(str(REFERENCES["calls"]))):
            result = getattr(init, function)(rng, **arguments)
            params = result if isinstance(result, dict) else {"": result}
            wanted = {
                key.partition(".")[2]: value
                for key, value in REFERENCES.items()
                if key.partition(".")[0] == str(i)
            }
            assert list(params) == list(wanted)
            for name, want in wanted.items():
                got = np.asarray(params[name])
                assert got.dtype == want.dtype
                if "normal" in function:
                    np.testing.assert_allclose(got, want, rtol=8 * np.finfo(got.dtype).eps)
                else:
                    np.testing.assert_array_equal(got, want, err_msg=f"{function} {arguments}")


@pytest.mark.parametrize("rng", [Generator(0), jax.random.key(0)], ids=["generator", "key"])
@pytest.mark.parametrize(
    ("call", "mean", "std"),
    [
        (lambda rng, s: init.uniform(rng, s, -1.0, 3.0), 1.0, 4 / math.sqrt(12)),
        (lambda rng, s: init.normal(rng, s, 1.0, 0.5), 1.0, 0.5),
        (lambda rng, s: init.xavier_uniform(rng, s, 2.0), 0.0, 2 * math.sqrt(2 / (300 * 9))),
        (lambda rng, s: init.xavier_normal(rng, s), 0.0, math.sqrt(2 / (300 * 9))),
        (lambda rng, s: init.kaiming_uniform(rng, s), 0.0, math.sqrt(2 / (200 * 9))),
        (
            lambda rng, s: init.kaiming_normal(rng, s, 1.0, "fan_out"),
            0.0,
            math.sqrt(1 / (100 * 9)),
        ),
        (
            lambda rng, s: init.conv2d(rng, 400, 100, 3, groups=2)["weight"],
            0.0,
            1 / math.sqrt(3 * 200 * 9),
        ),
        (
            lambda rng, s: init.linear(rng, 200, 900)["weight"],
            0.0,
            1 / math.sqrt(3 * 200),
        ),
    ],
    ids=["uniform", "normal", "xu", "xn", "ku", "kn", "conv2d", "linear"],
)
def test_moments_from_a_generator_and_from_a_key(
    rng: Rng, call: Callable[..., jax.Array], mean: float, std: float
) -> None:
    """Both kinds of randomness follow the same distribution."""
    sample = np.asarray(call(rng, (100, 200, 3, 3)), np.float64)
    assert abs(sample.mean() - mean) < 5 * std / math.sqrt(sample.size)
    assert abs(sample.std() - std) < 0.02 * std


def test_a_key_gives_weight_and_bias_apart() -> None:
    """A key is split, not used twice, and may be traced."""
    params = init.linear(jax.random.key(0), 1, 1)
    assert params["weight"].item() != params["bias"].item()
    traced = jax.jit(lambda key: init.conv2d(key, 1, 2, (3, 2)))(jax.random.key(0))
    assert traced["weight"].shape == (2, 1, 3, 2)


def test_a_layer_without_bias_draws_only_its_weight() -> None:
    """What is not asked for is not drawn."""
    rng, other = Generator(0), Generator(0)
    assert list(init.linear(rng, 3, 2, bias=False)) == ["weight"]
    other.rand((6,))
    np.testing.assert_array_equal(rng.get_state(), other.get_state())


def test_an_empty_weight_is_no_error() -> None:
    """A shape with a zero gives an empty array, as in PyTorch."""
    assert init.kaiming_uniform(Generator(0), (0, 3)).shape == (0, 3)
    assert init.xavier_normal(Generator(0), (0, 0)).shape == (0, 0)


def test_calculate_gain_is_pytorchs_table() -> None:
    """Every gain that PyTorch documents."""
    assert init.calculate_gain("linear") == init.calculate_gain("conv_transpose3d") == 1
    assert init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("selu") == 0.75
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    assert init.calculate_gain("leaky_relu", 0) == math.sqrt(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: init.linear(g, 0, 1), "in_features: expected an integer, at least 1, got 0"),
        (lambda g: init.linear(g, 1, 0), "out_features: expected an integer, at least 1, got 0"),
        (lambda g: init.linear(g, 2.5, 1), r"in_features: expected an integer, .* got 2\.5"),
        (lambda g: init.conv2d(g, 0, 1, 1), "in_channels: expected an integer, at least 1, got 0"),
        (lambda g: init.conv2d(g, 1, 1, (0, 3)), "kernel_size: expected an integer, .* got 0"),
        (lambda g: init.conv2d(g, 1, 1, (3, 3, 3)), r"kernel_size: expected .* two of them, got"),
        (lambda g: init.conv2d(g, 3, 2, 1, groups=2), "in_channels: expected a multiple of groups"),
        (lambda g: init.conv2d(g, 2, 3, 1, groups=2), "out_channels: expected a multiple of gro"),
        (
            lambda g: init.conv2d(g, 2, 3, 1, groups=0),
            "groups: expected an integer, at least 1, got 0",
        ),
        (lambda g: init.uniform(g, (1,), 1.0, 0.0), r"a: expected at most b, 0\.0, got 1\.0"),
        (lambda g: init.normal(g, (1,), 0.0, -1.0), r"std: expected 0 or more, got -1\.0"),
        (lambda g: init.uniform(g, (2,), -3e38, 3e38), "b: expected b - a within float32, got -3e"),
        (lambda g: init.uniform(g, (2,), math.nan), "a: expected a finite float32, got nan"),
        (lambda g: init.uniform(g, (-2,)), r"shape: expected sizes of 0 or more, got \(-2,\)"),
        (lambda g: init.normal(g, 2.5), r"shape: expected an integer or a tuple of them, got 2\.5"),
        (lambda g: init.normal(g, (1,), math.nan), "mean: expected a finite float32, got nan"),
        (lambda g: init.normal(g, (1,), 0.0, 1e39), r"std: expected a finite float32, got 1e\+39"),
        (lambda g: init.uniform(g, (1,), dtype=np.float16), "dtype: expected float32 or float64"),
        (lambda g: init.linear(g, 1, 1, dtype=np.float64), "dtype: expected jax_enable_x64"),
        (lambda g: init.normal(g, (1,), dtype=np.float64), "dtype: expected jax_enable_x64"),
        (lambda g: init.xavier_normal(g, (3,)), r"shape: expected two axes or more, got \(3,\)"),
        (lambda g: init.xavier_uniform(g, (3, 2), -1.0), r"gain: expected 0 or more, got -1\.0"),
        (
            lambda g: init.xavier_normal(g, (3, 2), math.inf),
            "gain: expected a finite number, got inf",
        ),
        (
            lambda g: init.kaiming_uniform(g, (3, 2), math.nan),
            "a: expected a finite number, got nan",
        ),
        (lambda g: init.calculate_gain("leaky_relu", math.nan), "param: expected a finite number"),
        (lambda g: init.kaiming_normal(g, (3, 2), mode="fan"), "mode: expected 'fan_in' or"),
        (
            lambda g: init.kaiming_uniform(g, (3, 2), nonlinearity="gelu"),
            "nonlinearity: expected one of .*, got 'gelu'",
        ),
    ],
)
def test_refusals_draw_nothing(call: Callable[[Rng], object], message: str) -> None:
    """A refused call names the argument and leaves the generator as it was."""
    rng = Generator(5)
    before = rng.get_state()
    with pytest.raises(ValueError, match=message):
        call(rng)
    np.testing.assert_array_equal(rng.get_state(), before)
    with pytest.raises(ValueError, match=message):
        call(jax.random.key(0))


@pytest.mark.parametrize(
    "call",
    [
        lambda rng: init.linear(rng, 1, 1),
        lambda rng: init.conv2d(rng, 1, 1, 1),
        lambda rng: init.uniform(rng, (2,)),
        lambda rng: init.normal(rng, (2,)),
        lambda rng: init.xavier_uniform(rng, (2, 2)),
        lambda rng: init.kaiming_normal(rng, (2, 2)),
    ],
)
def test_rng_is_a_generator_or_one_key(call: Callable[[object], object]) -> None:
    """A seed, several keys or nothing is refused by name."""
    for rng, came in (
        (0, "0"),
        (None, "None"),
        (jax.random.split(jax.random.key(0)), r"key<fry>\[2\]"),
        (jax.numpy.ones(2), r"float32\[2\]"),
    ):
        with pytest.raises(ValueError, match=f"^rng: expected a Generator or .*key, got {came}$"):
            call(rng)
    call(jax.random.PRNGKey(0))


def test_sizes_are_any_integers() -> None:
    """NumPy's count, and one is the shape of one axis."""
    assert init.conv2d(Generator(0), 1, 2, np.int64(3))["weight"].shape == (2, 1, 3, 3)
    assert init.linear(Generator(0), np.int64(3), 2)["weight"].shape == (2, 3)
    for rng in (Generator(0), jax.random.key(0)):
        assert init.uniform(rng, 3).shape == init.normal(rng, np.int64(3)).shape == (3,)
