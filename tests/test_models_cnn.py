"""The networks and their summaries: shapes, closed forms, and what they refuse."""

import functools
from types import ModuleType
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fgrad
from fgrad.graph import graph
from fgrad.models import convnet, lenet, mlp
from fgrad.random import Generator

IMAGES = Generator(1).randn((2, 1, 32, 32))


@pytest.fixture(scope="module")
def params() -> Any:
    return lenet.init(Generator(0))


@pytest.mark.parametrize("model", [lenet, convnet], ids=["lenet", "convnet"])
def test_an_image_alone_or_mapped_is_one_of_the_batch(model: ModuleType) -> None:
    params = model.init(Generator(0))
    batch = jax.jit(model.apply)(params, IMAGES)
    np.testing.assert_allclose(model.apply(params, IMAGES[1]), batch[1], rtol=1e-4, atol=1e-6)
    mapped = jax.vmap(model.apply, (None, 0))(params, IMAGES)
    np.testing.assert_allclose(mapped, batch, rtol=1e-4, atol=1e-6)


def test_a_key_draws_every_layer_anew() -> None:
    params = mlp.init(jax.random.key(0), [4, 4, 4])
    assert not np.array_equal(params["fc1"]["weight"], params["fc2"]["weight"])


def test_float64_is_kept() -> None:
    with jax.enable_x64(True):
        params = lenet.init(Generator(0), dtype=np.float64)
        assert lenet.apply(params, IMAGES.astype(np.float64)).dtype == np.float64


def test_mlp_is_its_formula() -> None:
    params = mlp.init(Generator(0), [3, 5, 4, 2])
    x = Generator(1).randn((6, 3))
    expected = x
    for i in (1, 2, 3):
        layer = jax.tree.map(np.asarray, params[f"fc{i}"])
        expected = expected @ layer["weight"].T + layer["bias"][None]
        expected = np.maximum(expected, 0) if i < 3 else expected
    np.testing.assert_allclose(mlp.apply(params, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (32, 32), (2, 3, 32, 32), (1, 1, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], params: Any) -> None:
    with pytest.raises(ValueError, match=r"^x: expected shape \(N, 1, 32, 32\) or \(1, 32, 32\)"):
        lenet.apply(params, np.zeros(shape, np.float32))


def test_every_wrong_parameter_is_named(params: Any) -> None:
    wrong = {**params, "fc1": {"weight": np.zeros((2, 3))}, "fc4": {"bias": np.zeros(1)}}
    message = (
        r"^params: expected fc1.weight of shape \(120, 400\), got \(2, 3\); "
        r"expected fc1.bias of shape \(120,\), got none; expected no fc4.bias, got one$"
    )
    with pytest.raises(ValueError, match=message):
        lenet.apply(wrong, IMAGES)


def test_what_mlp_refuses() -> None:
    with pytest.raises(ValueError, match=r"^sizes: expected at least two, got \[3\]$"):
        mlp.init(Generator(0), [3])
    with pytest.raises(ValueError, match=r"^params: expected fc1.weight of shape \(out, in\)"):
        mlp.apply({}, np.zeros(3))
    params = mlp.init(Generator(0), [3, 2])
    with pytest.raises(ValueError, match=r"^x: expected shape \(N, 3\) or \(3,\), got \(2,\)$"):
        mlp.apply(params, np.zeros(2, np.float32))


def test_the_graph_of_lenet_reads_as_its_layers(params: Any) -> None:
    drawn = graph(lenet.apply, params, IMAGES[:1], cotangent=np.ones((1, 10), np.float32))
    layers = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [node.name for node in drawn.nodes if node.kind != "input"] == layers
    assert [name for name in layers if name in drawn.render("svg")] == layers


def rows(summary: fgrad.counting.Summary) -> list[tuple[str, int, int]]:
    return [(layer.name, layer.parameters, layer.multiply_adds) for layer in summary.layers]


@pytest.mark.parametrize("batch", [1, 3])
def test_lenet_in_closed_form(params: Any, batch: int) -> None:
    x = np.zeros((batch, 1, 32, 32), np.float32)
    summary = fgrad.summary(jax.jit(lenet.apply), params, x)
    assert rows(summary) == [
        ("conv1", 6 * 25 + 6, batch * 6 * 28 * 28 * 25),
        ("conv2", 16 * 150 + 16, batch * 16 * 10 * 10 * 150),
        ("fc1", 120 * 401, batch * 400 * 120),
        ("fc2", 84 * 121, batch * 120 * 84),
        ("fc3", 10 * 85, batch * 84 * 10),
    ]
    assert (summary.parameters, summary.multiply_adds) == (61_706, batch * 416_520)
    assert summary.layers[0].shape == (batch, 6, 14, 14)


def test_the_table_is_aligned_and_has_totals(params: Any) -> None:
    printed = str(fgrad.summary(lenet.apply, params, IMAGES[:1]))
    assert printed.splitlines()[0].split() == [
        "layer",
        "output",
        "parameters",
        "multiply-adds",
        "operations",
    ]
    assert len({line.index(number) + len(number) for line, number in _sizes(printed)}) == 1
    assert printed.splitlines()[-1].split() == ["total", "61,706", "416,520"]


def _sizes(printed: str) -> list[tuple[str, str]]:
    lines = printed.splitlines()
    return [(lines[1], "156 "), (lines[3], "48,120 "), (lines[-1], "61,706 ")]


def test_functions_of_every_kind_are_counted() -> None:
    @jax.custom_jvp
    def square(x: jax.Array) -> jax.Array:
        return x @ x

    square.defjvp(lambda primals, tangents: (square(*primals), tangents[0]))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        def once(h: jax.Array) -> jax.Array:
            return h @ params["w2"]

        def twice(h: jax.Array) -> jax.Array:
            return once(once(h))

        h = jax.nn.relu(x @ params["w"].T)  # 7 * 5 * 3
        h, _ = jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), h, params["scanned"])
        h = jax.lax.cond(h.sum() > 0, once, twice, h)
        return square(h[:5]) @ params["w2"]

    arrays = {"w": (5, 3), "scanned": (4, 5, 5), "w2": (5, 5), "unread": (9,)}
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in arrays.items()}
    summary = fgrad.summary(apply, params, np.zeros((7, 3), np.float32))
    named = {layer.operations[0]: layer for layer in summary.layers if layer.multiply_adds}
    assert named["scan"][3:] == (100, 4 * 7 * 5 * 5)
    assert named["cond"][3:] == (25, 2 * 7 * 5 * 5), "the dearest branch"
    assert named["dot_general"].parameters == 0, "a parameter counts where it is read first"
    assert named["square"].multiply_adds == 5**3
    assert summary.multiply_adds == 7 * 5 * 3 + 4 * 175 + 2 * 175 + 125 + 125
    assert summary.parameters == 15 + 100 + 25 + 9
    assert "unread" in str(summary)


def test_convolutions_with_groups_and_a_jitted_layer() -> None:
    @functools.partial(jax.jit, static_argnames="groups")
    def layer(x: jax.Array, weight: jax.Array, groups: int) -> jax.Array:
        return fgrad.functional.conv2d(x, weight, padding=1, groups=groups)

    summary = fgrad.summary(
        lambda w, x: jax.nn.relu(layer(x, w, 2)),
        np.zeros((4, 3, 3, 3), "f"),
        np.zeros((6, 8, 8), "f"),
    )
    assert rows(summary)[0] == ("layer", 108, 4 * 8 * 8 * 3 * 9)


def test_what_differs_by_platform_is_counted_by_default() -> None:
    def apply(weight: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(
            x, weight, cpu=lambda x, w: (x @ w) @ (w.T @ w), default=lambda x, w: x @ w
        )

    arrays = np.zeros((3, 5), "f"), np.zeros((2, 3), "f")
    for summary in (
        fgrad.summary(apply, *arrays),
        fgrad.summary(lambda w, x: jax.lax.map(lambda x: apply(w, x), x[None]), *arrays),
    ):
        assert (summary.parameters, summary.multiply_adds) == (15, 2 * 3 * 5)


def test_another_library_s_model() -> None:
    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = flax.linen.relu(flax.linen.Conv(6, (5, 5), padding="VALID")(x))
            return flax.linen.Dense(10)(x.reshape(x.shape[0], -1))

    x = jnp.zeros((1, 32, 32, 1))
    params = jax.eval_shape(Net().init, jax.random.key(0), x)
    found = {name: sizes for name, *sizes in rows(fgrad.summary(Net().apply, params, x))}
    assert found["Net/Conv_0"] == [156, 6 * 28 * 28 * 25]
    assert found["Net/Dense_0"] == [10 * (6 * 28 * 28 + 1), 10 * 6 * 28 * 28]


def test_summary_refuses_what_is_no_function() -> None:
    with pytest.raises(ValueError, match=r"^apply: expected a function, got 3$"):
        fgrad.summary(3, {}, np.zeros(1))
