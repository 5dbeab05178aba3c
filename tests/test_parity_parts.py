"""The parts of a check: comparing, pairing, looking inside."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from fgrad.parity.capture import capture
from fgrad.parity.causes.layers import EPSILONS, of_call
from fgrad.parity.causes.optimizers import Options, run
from fgrad.parity.compare import Slot, Tolerance, compare
from fgrad.parity.mapping import ParameterMap, make_map
from fgrad.parity.naming import Leaf
from fgrad.parity.recording import Call, Step

SLOT = Slot(0, "forward", "fc1", "float32")
EPS = float(np.finfo(np.float32).eps)


def array(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def test_the_measured_tolerance() -> None:
    expected = array(1, -4)
    assert compare(SLOT, expected, expected, noise=1e-3).tolerance == pytest.approx(
        8e-3 + 64 * EPS * 4
    )
    near, far = (array(1, -4 + 256 * EPS * factor) for factor in (0.9, 1.1))
    assert compare(SLOT, expected, near, noise=0.0).ok
    found = compare(SLOT, expected, far, noise=0.0)
    assert not found.ok
    assert (found.index, found.expected, found.actual) == ((1,), -4.0, far[1])
    assert found.relative == found.error / 4


def test_the_worst_element_is_the_farthest_beyond_its_tolerance() -> None:
    found = compare(SLOT, array(100, 1), array(100.5, 1.4), 0.0, Tolerance(rtol=0.01))
    assert (found.ok, found.index) == (False, (1,))
    assert found.tolerance == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("actual", "note"),
    [
        (array(1), "expected shape (2,), got (1,)"),
        (array(1, 2)[None], "expected shape (2,), got (1, 2)"),
        (np.float32(1), "expected shape (2,), got ()"),
        (np.array([1.0, 2.0]), "expected float32, got float64"),
    ],
    ids=["broadcast", "rank", "scalar", "dtype"],
)
def test_nothing_is_broadcast_or_cast(actual: Any, note: str) -> None:
    found = compare(SLOT, array(1, 2), np.asarray(actual), noise=1.0)
    assert not found.ok
    assert note in found.note


def test_an_empty_match_is_none() -> None:
    assert not compare(SLOT, array(), array(), noise=1.0).ok


@pytest.mark.parametrize("stage", ["initial weights", "gradient", "optimizer state", "update"])
def test_a_parameter_may_be_empty(stage: str) -> None:
    slot = SLOT._replace(stage=stage)
    found = compare(slot, array(), array(), noise=0.0)
    assert (found.ok, found.error) == (True, 0.0)
    assert not compare(slot, array(), np.zeros(0), noise=0.0).ok
    assert not compare(slot, array(), np.zeros((0, 2), np.float32), noise=0.0).ok


@pytest.mark.parametrize(
    ("expected", "actual", "ok"),
    [
        (array(math.nan, 1), array(math.nan, 1), True),
        (array(math.nan, 1), array(0, 1), False),
        (array(0, 1), array(math.nan, 1), False),
        (array(math.nan, 1), array(1, math.nan), False),
        (array(math.inf, 1), array(math.inf, 1), True),
        (array(math.inf, 1), array(-math.inf, 1), False),
        (array(math.inf, 1), array(1e30, 1), False),
    ],
)
def test_nan_and_infinity_are_equal_at_the_same_place_only(
    expected: Any, actual: Any, ok: bool
) -> None:
    assert compare(SLOT, expected, actual, noise=1e-6).ok == ok


def mapped(
    leaves: dict[str, tuple[int, ...]],
    shapes: dict[str, tuple[int, ...]],
    explicit: Any = None,
    flattened: Any = None,
    kinds: Any = None,
) -> ParameterMap:
    """Pair a port's arrays with PyTorch's."""
    pairs = [Leaf(path, shape) for path, shape in leaves.items()]
    return make_map("params", pairs, shapes, kinds or {}, explicit or {}, flattened or {})


def numbered(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return arrays of which no two numbers are the same."""
    start, arrays = 0, {}
    for name, shape in shapes.items():
        size = math.prod(shape)
        arrays[name] = np.arange(start, start + size).reshape(shape)
        start += size
    return arrays


def round_trip(found: ParameterMap, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    """Return the port's arrays of numbered entries, once they came back as they were."""
    entries = numbered(shapes)
    arrays = found.to_port(entries)
    back = found.to_torch(arrays)
    assert set(back) == set(entries)
    for name, value in entries.items():
        np.testing.assert_array_equal(back[name], value)
    return arrays


@pytest.mark.parametrize(
    ("path", "theirs", "ours", "name"),
    [
        ("fc.kernel", (2, 3), (3, 2), "fc.weight"),
        ("fc.kernel", (3, 3), (3, 3), "fc.weight"),
        ("conv.kernel", (6, 1, 5, 4), (5, 4, 1, 6), "conv.weight"),
        ("conv.kernel", (6, 2, 5), (5, 2, 6), "conv.weight"),
        ("ln.scale", (4,), (4,), "ln.weight"),
        ("emb.embedding", (7, 7), (7, 7), "emb.weight"),
        ("conv.bias", (4,), (4, 1, 1), "conv.bias"),
        ("layers_0.kernel", (2, 3), (3, 2), "layers.0.weight"),
        ("layers.0.weight", (2, 3), (2, 3), "layers.0.weight"),
        ("bn.mean", (4,), (4,), "bn.running_mean"),
    ],
    ids=str,
)
def test_pairing_by_name(path: str, theirs: Any, ours: Any, name: str) -> None:
    kinds = {"emb": "Embedding"}
    (found,) = round_trip(mapped({path: ours}, {name: theirs}, kinds=kinds), {name: theirs})
    expected = np.arange(math.prod(theirs)).reshape(theirs)
    if path.endswith("kernel"):
        expected = np.moveaxis(expected, (1, 0), (-2, -1))
    np.testing.assert_array_equal(found, expected.reshape(ours))


def test_pairing_by_order() -> None:
    """A list of pairs, as pure functions have them; ten layers sort by number."""
    leaves: dict[str, tuple[int, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(11):
        leaves |= {f"{i}.0": (i + 3, i + 2), f"{i}.1": (i + 2,)}
        shapes |= {f"net.{i}.weight": (i + 2, i + 3), f"net.{i}.bias": (i + 2,)}
    found = mapped(dict(sorted(leaves.items())), shapes)
    assert "10 = net.10" in found.notes[0]
    round_trip(found, shapes)


def test_a_square_weight_without_a_name_is_warned_about() -> None:
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (3, 3), "fc.bias": (3,)}
    found = mapped({"0.0": (3, 3), "0.1": (3,)}, shapes)
    assert any("0.0 is square: taken to be fc.weight as it is" in note for note in found.notes)
    # Beside one that leaves no doubt there is none.
    shapes |= {"out.weight": (2, 3), "out.bias": (2,)}
    found = mapped({"0.0": (3, 3), "0.1": (3,), "1.0": (3, 2), "1.1": (2,)}, shapes)
    weight, *_ = round_trip(found, shapes)
    np.testing.assert_array_equal(weight, np.arange(9).reshape(3, 3).T)


def test_explicit_mappings() -> None:
    """A third of a fused projection; a stack of layers; a plain renaming."""
    shapes: dict[str, tuple[int, ...]] = {
        "qkv": (6, 2),
        "a.weight": (3, 4),
        "b.weight": (3, 4),
        "out": (5, 2),
    }
    explicit = {
        "q": ("qkv", lambda w: w[:2].T),
        "k": ("qkv", lambda w: w[2:4].T),
        "v": ("qkv", lambda w: w[4:].T),
        "stack": (("a.weight", "b.weight"), lambda *ws: np.stack([w.T for w in ws])),
        "head": "out",
    }
    leaves: dict[str, tuple[int, ...]] = {
        **dict.fromkeys("qkv", (2, 2)),
        "stack": (2, 4, 3),
        "head": (2, 5),
    }
    arrays = round_trip(mapped(leaves, shapes, explicit), shapes)
    np.testing.assert_array_equal(arrays[1], np.arange(4, 8).reshape(2, 2).T)
    np.testing.assert_array_equal(arrays[3][1], np.arange(24, 36).reshape(3, 4).T)


def test_flattened_channels_last() -> None:
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (2, 12)}
    found = mapped({"fc.kernel": (12, 2)}, shapes, flattened={"fc": (2, 2, 3)})
    (kernel,) = round_trip(found, shapes)
    x, weight = np.random.default_rng(0).normal(size=(2, 2, 3)), np.arange(24).reshape(2, 12)
    np.testing.assert_allclose(np.moveaxis(x, 0, -1).ravel() @ kernel, weight @ x.ravel())


FC: dict[str, tuple[int, ...]] = {"fc.weight": (2, 3)}
BAD_MAPS: dict[str, tuple[Any, ...]] = {
    "left over": ({"fc.kernel": (3, 2), "gate": (7,)}, FC, "extra: gate of shape \\(7,\\)"),
    "missing": ({"fc.kernel": (3, 2)}, {**FC, "fc.bias": (2,)}, "missing: fc.bias of shape"),
    "shape": ({"fc.weight": (2, 4)}, FC, "fc.weight, expected that of fc.weight, \\(2, 3\\)"),
    "twice": (
        {"q": (1, 3), "k": (1, 3)},
        FC,
        "expected every number of fc.weight once, its number at \\(0, 0\\) is there 2 times",
        {"q": ("fc.weight", lambda w: w[:1]), "k": ("fc.weight", lambda w: w[:1])},
    ),
    "half": (
        {"q": (1, 3)},
        FC,
        "its number at \\(1, 0\\) is there 0 times",
        {"q": ("fc.weight", lambda w: w[:1])},
    ),
    "no rearrangement": (
        {"w": (2, 3)},
        FC,
        "expected a function that only rearranges",
        {"w": ("fc.weight", lambda w: w / 2)},
    ),
    "unknown": ({"w": (2, 3)}, FC, "expected names among fc.weight", {"w": "fc1.weight"}),
    **{
        f"rule {name}": (
            {"w": (2, 3)},
            FC,
            r"mapping\['w'\]: expected a name, \(name, function\) or \(\(name, ...\), function\), ",
            {"w": rule},
        )
        for name, rule in {
            "without a function": ("fc.weight", 3),
            "of three": ("fc.weight", np.transpose, 3),
            "of none": None,
            "without names": ((), np.transpose),
            "of numbers": ((1, 2), np.transpose),
            "of names alone": (("fc.weight", "fc.bias"), None),
        }.items()
    },
    "its shape": (
        {"w": (3, 3)},
        FC,
        "expected shape \\(3, 3\\), the function gives \\(2, 3\\)",
        {"w": ("fc.weight", lambda w: w)},
    ),
    "flattened": (
        {"fc.kernel": (3, 2)},
        FC,
        "flattened: expected a Linear",
        None,
        {"fc": (2, 2, 2)},
    ),
}


@pytest.mark.parametrize("arguments", BAD_MAPS.values(), ids=BAD_MAPS.keys())
def test_refused_mappings(arguments: Any) -> None:
    leaves, shapes, message, *rest = arguments
    with pytest.raises(ValueError, match=message):
        mapped(leaves, shapes, *rest)


def test_names_are_found_wherever_they_are() -> None:
    @jax.jit
    def jitted(x: jax.Array) -> jax.Array:
        return checkpoint_name(jnp.sin(x), "sin")

    def body(x: jax.Array, scale: jax.Array) -> tuple[jax.Array, None]:
        return checkpoint_name(x * scale, "layer"), None

    def function(x: jax.Array) -> jax.Array:
        x = jax.checkpoint(lambda x: checkpoint_name(jnp.cos(jitted(x)), "cos"))(x)
        x, _ = jax.lax.scan(body, x, jnp.array([2.0, 3.0]))
        return jax.vmap(lambda row: checkpoint_name(row.sum(), "sum"))(jax.nn.relu(x))

    x = jnp.arange(6.0).reshape(2, 3)
    found = capture(function, x)
    assert [name for name, _ in found.named] == ["sin", "cos", "layer", "layer", "sum"]
    np.testing.assert_allclose(found.named[1][1], np.cos(np.sin(x)), rtol=1e-6)
    np.testing.assert_allclose(found.named[3][1], 6 * np.cos(np.sin(x)), rtol=1e-6)
    np.testing.assert_allclose(found.result, function(x), rtol=1e-6)
    assert found.named[4][1].shape == (2,)
    traced = jax.jit(lambda x: [value for _, value in capture(function, x).named])(x)
    np.testing.assert_allclose(traced[3], found.named[3][1], rtol=1e-6)


def test_a_scan_in_reverse_runs_from_its_end() -> None:
    """The carry, the stacked rows and the names are those of the run that JAX makes."""

    def body(x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = checkpoint_name(x * scale + 1, "layer")
        return x, x - scale

    def function(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.scan(body, x, jnp.array([2.0, 3.0, 5.0]), reverse=True)

    found = capture(function, jnp.float32(1))
    assert [float(value) for _, value in found.named] == [6.0, 19.0, 39.0]
    assert float(found.result[0]) == 39.0
    assert found.result[1].tolist() == [37.0, 16.0, 1.0]
    assert jax.tree.all(jax.tree.map(np.array_equal, found.result, function(jnp.float32(1))))


def test_a_name_in_a_branch_is_refused() -> None:
    def function(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x > 0, lambda x: checkpoint_name(x, "inside"), lambda x: -x, x)

    with pytest.raises(ValueError, match="expected no checkpoint_name within a cond, got 'inside'"):
        capture(function, jnp.float32(1))


def test_an_update_rule_against_optax() -> None:
    """The rules that causes are told by are those of optax, each with its options."""
    import optax

    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(4)]
    weights = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(4)]
    adam = Options(0.1, adaptive=True, decay=0.01, decoupled=True)
    pairs = [
        (Options(0.1), optax.sgd(0.1)),
        (Options(0.1, momentum=0.9, nesterov=True), optax.sgd(0.1, 0.9, nesterov=True)),
        (adam, optax.adamw(0.1, weight_decay=0.01)),
        (adam._replace(nesterov=True), optax.nadamw(0.1, weight_decay=0.01)),
        (adam._replace(decay=0.0, eps_inside=True), optax.adam(0.1, eps=0.0, eps_root=1e-8)),
        (Options(0.1, every=2), optax.MultiSteps(optax.sgd(0.1), 2)),
    ]
    with jax.numpy_dtype_promotion("standard"):
        for options, optimizer in pairs:
            state, after = optimizer.init(weights[0]), []
            for gradient, weight in zip(gradients, weights, strict=True):
                updates, state = optimizer.update(gradient, state, weight)
                after.append(optax.apply_updates(weight, updates))
            found = run(options, gradients, weights)
            np.testing.assert_allclose(found, after, rtol=2e-4, atol=1e-6, err_msg=str(options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_epsilons_that_are_tried_are_others_than_pytorchs(dtype: type) -> None:
    """In float32 too, where 1e-5 is another number than Python's."""
    x = np.random.default_rng(0).uniform(1, 2, (5, 3))
    mean, variance = x.mean(0), x.var(0)
    entries = {"bn.running_mean": mean.astype(dtype), "bn.running_var": variance.astype(dtype)}
    call = Call("bn", "bn", (x.astype(dtype),), (x.astype(dtype),), (0.0,))
    step = Step(0, (call,), None, dtype(0), {}, {}, entries, entries, {}, {}, {})
    module = {"kind": "BatchNorm1d", "config": {"eps": 1e-5, "training": False}}
    tried = [each for each in of_call(call, module, step) if "has epsilon" in each.explanation]
    others = [eps for eps in EPSILONS if eps != 1e-5]
    for eps, each in zip(others, tried, strict=True):
        assert each.explanation == f"bn has epsilon {eps:g}, PyTorch's has 1e-05"
        np.testing.assert_allclose(each.value, (x - mean) / np.sqrt(variance + eps), rtol=1e-5)
