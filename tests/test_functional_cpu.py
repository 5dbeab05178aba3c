"""Convolution as products of matrices against JAX's own, alone and with relu and pooling."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from fgrad import functional as F
from fgrad.functional._cpu import patches, products
from fgrad.functional._cpu.axes import Axis
from fgrad.functional._cpu.formulation import Formulation, fastest

Pair = tuple[int, int]
Arrays = Mapping[str, Any]

INF, NAN = float("inf"), float("nan")

# float64 relative to the larger of 1 and the number; float32 by torch.testing.assert_close.
TOLERANCES = {"float64": (1e-12, 1e-12), "float32": (1.3e-6, 1e-5)}

# Few examples, and the same ones every time: each compiles.
few = settings(max_examples=10, deadline=None, derandomize=True, database=None)


class Case(NamedTuple):
    """The shapes of one call; a window of None for the convolution alone.

    `winograd` says to convolve by Winograd's products whether or not that is fastest.
    """

    batch: int
    in_channels: int
    out_channels: int
    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair | str = (0, 0)
    bias: bool = True
    window: Pair | None = (2, 2)
    winograd: bool = False

    @property
    def pads(self) -> tuple[Pair, Pair]:
        """How many zeros go before and after each axis."""
        if isinstance(self.padding, str):
            down, across = ((k - 1) // 2 for k in self.kernel)
            return (down, self.kernel[0] // 2), (across, self.kernel[1] // 2)
        return (self.padding[0],) * 2, (self.padding[1],) * 2

    def arrays(self, dtype: str, draw: Callable[..., npt.NDArray[Any]] | None = None) -> Arrays:
        """Return an input, filters and perhaps a bias, by default normally distributed."""
        draw = draw or np.random.default_rng(0).standard_normal
        shapes: dict[str, tuple[int, ...]] = {
            "input": (self.batch, self.in_channels, *self.size),
            "weight": (self.out_channels, self.in_channels, *self.kernel),
        }
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        return {name: jnp.asarray(draw(shape), dtype) for name, shape in shapes.items()}

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """How filters slide, as far as the windows see."""
        vertical, horizontal = (
            Axis(size, span, step, before, outputs // pool * pool, pool)
            for size, span, step, (before, after), pool in zip(
                self.size, self.kernel, self.stride, self.pads, self.window or (1, 1), strict=True
            )
            for outputs in [(size + before + after - span) // step + 1]
        )
        return vertical, horizontal

    def formulated(self, formulation: Formulation, arrays: Arrays) -> jax.Array:
        """Run one formulation of what is tested."""
        images = patches.batch_last(arrays["input"])
        slabs = patches.convolve(images, arrays["weight"], formulation)
        outputs = patches.first_maximum(slabs)
        if self.bias:
            outputs = outputs + arrays["bias"][None, None, :, None, None, None]
        return patches.as_images(outputs if self.window is None else F.relu(outputs))

    def by_product(self, arrays: Arrays) -> jax.Array:
        """Run what is tested."""
        if self.winograd:
            rows, columns = (axis._replace(block=2) for axis in self.axes)
            return self.formulated(Formulation(rows, columns, winograd=True), arrays)
        options: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        if self.window is None:
            return F.conv2d(**arrays, **options)
        return F.conv2d_relu_max_pool2d(**arrays, **options, pool_size=self.window)

    def by_convolution(self, arrays: Arrays) -> jax.Array:
        """Run what it is held against."""
        output = lax.conv_general_dilated(arrays["input"], arrays["weight"], self.stride, self.pads)
        if self.bias:
            output = output + arrays["bias"][None, :, None, None]
        return output if self.window is None else F.max_pool2d(F.relu(output), self.window)


def draw_integers(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return small integers: no rounding in any order of summing, and many ties and zeros."""
    return np.random.default_rng(0).integers(-1, 2, shape).astype(np.float64)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return any shapes that give at least one output."""

    def pair(low: int, high: int) -> Pair:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, window = pair(1, 5), draw(st.sampled_from([None, 1, 2, 3]))
    windows = None if window is None else (window, draw(st.integers(1, 3)))
    same = draw(st.booleans()) and draw(st.booleans())
    stride = (1, 1) if same else pair(1, 3)
    padding = "same" if same else pair(0, 3)
    case = Case(1, draw(st.integers(1, 3)), draw(st.integers(1, 6)), (0, 0), kernel, stride)
    case = case._replace(padding=padding, bias=draw(st.booleans()), window=windows)
    least = (
        max(1, span + (outputs - 1) * step - sum(pads))
        for span, outputs, step, pads in zip(
            kernel, windows or (1, 1), stride, case.pads, strict=True
        )
    )
    height, width = (size + draw(st.integers(0, 7)) for size in least)
    return case._replace(batch=draw(st.sampled_from([1, 2, 3, 17])), size=(height, width))


def with_gradients(run: Callable[[Arrays], jax.Array], arrays: Arrays) -> Any:
    """Return a function's value and the gradients of all its arguments."""
    output, pull = jax.vjp(run, arrays)
    cotangent = np.random.default_rng(1).uniform(-1, 1, output.shape)
    return output, pull(jnp.asarray(cotangent, output.dtype))


def with_and_without(run: Callable[[Arrays], jax.Array], arrays: Arrays) -> Any:
    """Return a function's value without derivatives, with them, and the gradients."""
    return run(arrays), *with_gradients(run, arrays)


def assert_close(actual: Any, expected: Any, dtype: str) -> None:
    """Compare every array."""
    rtol, atol = TOLERANCES[dtype]
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol, atol, strict=True)


def both(function: Callable[..., Any], case: Case, *args: Any) -> tuple[Any, Any]:
    """Compile a function of a convolution for both ways, as one program."""
    ways = case.by_product, case.by_convolution
    found: tuple[Any, Any] = jax.jit(lambda *args: tuple(function(way, *args) for way in ways))(
        *args
    )
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@few
@given(case=cases())
def test_any_shape(dtype: str, case: Case) -> None:
    """Values and first derivatives, of a convolution alone and of one with relu and pooling."""
    with jax.enable_x64(dtype == "float64"):
        assert_close(*both(with_and_without, case, case.arrays(dtype)), dtype)


@few
@given(case=cases())
def test_any_shape_with_ties(case: Case) -> None:
    """With integers the two are equal to the last bit, and so are the places that are chosen."""
    actual, expected = both(with_and_without, case, case.arrays("float32", draw_integers))
    np.testing.assert_array_equal(actual[:2], expected[:2])
    assert_close(actual[2], expected[2], "float32")


FIXED = {
    "alone": Case(2, 2, 3, (5, 6), (3, 2), (1, 2), (1, 0), window=None),
    "in one block": Case(2, 1, 4, (6, 6), (3, 3), window=(2, 2)),
    "in many": Case(1, 2, 2, (9, 8), (2, 1), (1, 1), "same", window=(3, 2)),
    "in many steps": Case(2, 1, 2, (5, 6), (4, 5), window=None),
    "in one loop": Case(16, 1, 2, (4, 4), (2, 2)),
    "Winograd's": Case(2, 2, 1, (4, 6), (3, 3), padding="same", window=None, winograd=True),
    "Winograd's, pooled": Case(2, 1, 2, (7, 4), (3, 3), padding=(0, 1), winograd=True),
}
SHAPES = pytest.mark.parametrize("case", FIXED.values(), ids=FIXED)


@SHAPES
def test_higher_derivatives(case: Case) -> None:
    """Forward, forward over reverse, reverse over forward and over reverse, along one direction."""

    def derivatives(run: Callable[[Arrays], jax.Array], arrays: Arrays, along: Arrays) -> Any:
        def loss(arrays: Arrays) -> jax.Array:
            return jnp.sum(jnp.sin(run(arrays)))

        def slope(arrays: Arrays) -> jax.Array:
            return jax.jvp(loss, (arrays,), (along,))[1]

        return (
            jax.jvp(run, (arrays,), (along,)),
            jax.jvp(jax.grad(loss), (arrays,), (along,)),
            jax.grad(slope)(arrays),
            jax.vjp(jax.grad(loss), arrays)[1](along),
        )

    with jax.enable_x64(True):
        draw = np.random.default_rng(2).standard_normal
        args = case.arrays("float64"), case.arrays("float64", draw)
        assert_close(*both(derivatives, case, *args), "float64")


@SHAPES
def test_transformations(case: Case) -> None:
    """Mapped over images, over filters, over both; gradients mapped; a Hessian."""

    def loss(run: Callable[[Arrays], jax.Array], arrays: Arrays) -> jax.Array:
        return jnp.sum(jnp.sin(run(arrays)))

    def transformed(run: Callable[[Arrays], jax.Array], many: Arrays) -> Any:
        one = {name: values[0] for name, values in many.items()}
        over_images = {name: 0 if name == "input" else None for name in many}
        over_filters = {name: None if name == "input" else 0 for name in many}
        gradient = jax.grad(functools.partial(loss, run))
        return (
            jax.vmap(run, (over_images,))({**one, "input": many["input"]}),
            jax.vmap(run, (over_filters,))({**many, "input": one["input"]}),
            jax.vmap(run)(many),
            jax.vmap(gradient)(many),
            jax.grad(lambda many: jnp.sum(jax.vmap(functools.partial(loss, run))(many)))(many),
            jax.hessian(lambda weight: loss(run, {**one, "weight": weight}))(one["weight"]),
        )

    with jax.enable_x64(True):
        draws = [np.random.default_rng(seed).standard_normal for seed in range(2)]
        several = [case.arrays("float64", draw) for draw in draws]
        many = {name: jnp.stack([one[name] for one in several]) for name in several[0]}
        assert_close(*both(transformed, case, many), "float64")


def divisors(number: int) -> list[int]:
    """Return all divisors of a number."""
    return [n for n in range(1, number + 1) if number % n == 0]


@pytest.mark.parametrize(
    ("window", "stride", "kernel"),
    [
        (None, (1, 1), (3, 2)),
        (None, (1, 1), (4, 5)),
        ((2, 2), (2, 3), (4, 1)),
        ((3, 1), (1, 2), (2, 3)),
    ],
    ids=str,
)
def test_every_block(stride: Pair, kernel: Pair, window: Pair | None) -> None:
    """Whatever block of outputs a patch yields, these are the same, and their gradients."""
    outputs, padding = (12, 4), (1, 0)
    height, width = (
        # As large as it may be without another output.
        (count - 1) * step + span - 2 * pad + (step - 1)
        for count, step, span, pad in zip(outputs, stride, kernel, padding, strict=True)
    )
    case = Case(2, 2, 3, (height, width), kernel, stride, padding, window=window)
    assert tuple(axis.outputs for axis in case.axes) == outputs
    heights, widths = (
        [n for n in divisors(count) if max(n, pool) % min(n, pool) == 0]
        for count, pool in zip(outputs, window or (1, 1), strict=True)
    )
    # Every height and every width, each with two of the others.
    blocks = {
        (height, widths[(number + shift) % len(widths)])
        for number, height in enumerate(heights)
        for shift in (0, 1)
    }
    rows, columns = case.axes
    choices = [
        Formulation(rows._replace(block=down), columns._replace(block=across))
        for down, across in sorted(blocks)
    ]
    ways = [case.by_convolution, *(functools.partial(case.formulated, way) for way in choices)]
    arrays = case.arrays("float32", draw_integers)
    expected, *found = jax.jit(lambda arrays: [with_gradients(way, arrays) for way in ways])(arrays)
    assert len(found) >= 6
    for actual in found:
        np.testing.assert_array_equal(actual[0], expected[0])
        assert_close(actual[1], expected[1], "float32")


@pytest.mark.parametrize(
    "window", [None, (1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (4, 1), (2, 8)], ids=str
)
def test_winograd_with_ties(window: Pair | None) -> None:
    """Whatever the windows, with integers it is right to the last bit, as halves are exact."""
    case = Case(3, 4, 5, (10, 18), (3, 3), padding=(0, 0), window=window, winograd=True)
    actual, expected = both(with_gradients, case, case.arrays("float32", draw_integers))
    np.testing.assert_array_equal(actual[0], expected[0])
    assert_close(actual[1], expected[1], "float32")


MANY = Case(34, 48, 40, (6, 8), (3, 3), padding=(1, 1))


@pytest.mark.parametrize(
    ("case", "winograd"),
    [
        (MANY, True),
        (MANY._replace(window=None), True),
        (MANY._replace(window=(4, 1)), True),
        (MANY._replace(in_channels=3), False),
        (MANY._replace(batch=32), True),
        (MANY._replace(batch=31), False),
        (MANY._replace(kernel=(3, 5)), False),
        (MANY._replace(stride=(1, 2)), False),
        (MANY._replace(size=(5, 8), window=None), False),
        (MANY._replace(window=(3, 1)), False),
    ],
    ids=[
        "pooled",
        "alone",
        "tall windows",
        "few channels",
        "32 images",
        "31 images",
        "kernel",
        "stride",
        "odd",
        "windows of three",
    ],
)
def test_where_winograd_is_fastest(case: Case, winograd: bool) -> None:
    """Many images and channels, 3x3 filters that stand side by side and an even number of them."""
    found = fastest(case.batch, case.out_channels, case.in_channels, *case.axes)
    assert found.winograd is winograd


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_many_channels(dtype: str) -> None:
    """As called by name, in parts; the weights as large as those that PyTorch begins with."""
    with jax.enable_x64(dtype == "float64"):
        arrays = dict(MANY.arrays(dtype))
        arrays["weight"] = arrays["weight"] / (9 * MANY.in_channels) ** 0.5
        assert_close(*both(with_gradients, MANY, arrays), dtype)


def test_how_exact_winograd_is() -> None:
    """Against float64, no error is much larger than the single product's, gradients included."""
    case = Case(2, 48, 40, (12, 12), (3, 3), padding=(1, 1), bias=False, window=None)
    with jax.enable_x64(True):
        narrow = case.arrays("float32")
        wide = {name: values.astype(jnp.float64) for name, values in narrow.items()}
        exact = jax.tree.map(np.asarray, with_gradients(case.by_convolution, wide))
    ways = (
        functools.partial(case.formulated, Formulation(*case.axes)),
        case._replace(winograd=True).by_product,
    )
    single, winograd = (
        jax.tree.map(
            lambda found, exact: np.abs(np.asarray(found, np.float64) - exact).max(),
            jax.jit(functools.partial(with_gradients, way))(narrow),
            exact,
        )
        for way in ways
    )
    for mine, other in zip(jax.tree.leaves(winograd), jax.tree.leaves(single), strict=True):
        assert 0 < mine < 4 * other


def test_ties_go_to_the_first_and_relu_is_flat_at_zero() -> None:
    """By hand: windows of one value, of two, and of nothing above 0."""
    image = jnp.array([[3.0, 3, 1, 2], [3, 3, 2, 0], [0, 0, -1, 0], [0, 0, 0, -1]])[None]
    one = jnp.ones((1, 1, 1, 1))

    def pooled(image: jax.Array, weight: jax.Array) -> jax.Array:
        return F.conv2d_relu_max_pool2d(image, weight, pool_size=2)

    output, pull = jax.vjp(pooled, image, one)
    by_image, by_weight = pull(jnp.ones_like(output))
    np.testing.assert_array_equal(output[0], [[3, 2], [0, 0]])
    first = [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(by_image[0], first)
    assert by_weight.item() == 5


@pytest.mark.parametrize("window", [None, (2, 2)], ids=["alone", "pooled"])
def test_what_is_not_finite(window: Pair | None) -> None:
    """NaN and infinities of filters and bias stay where they are without patches."""
    case = Case(2, 2, 5, (9, 8), (3, 3), window=window)
    arrays = dict(case.arrays("float32", draw_integers))
    arrays["bias"] = arrays["bias"].at[2:].set(jnp.array([NAN, INF, -INF]))
    arrays["weight"] = arrays["weight"].at[0, 0, 1, 1].set(NAN).at[1, 1, 0, 0].set(INF)
    actual, expected = both(lambda run, arrays: run(arrays), case, arrays)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("window", [None, (2, 2)], ids=["alone", "pooled"])
def test_an_image_that_is_not_finite(window: Pair | None, value: float) -> None:
    """A pixel's NaN is in all that sees it, and reaches no further than the same patch."""
    case = Case(1, 1, 8, (18, 18), (5, 5), window=window)
    arrays = dict(case.arrays("float32", draw_integers))
    arrays["input"] = arrays["input"].at[0, 0, 9, 9].set(value)
    actual, expected = jax.tree.map(np.asarray, both(lambda run, x: run(x), case, arrays))
    assert np.isnan(actual[np.isnan(expected)]).all()
    # It is seen by outputs 5 to 9 of 14; blocks of two or four of them begin at 4 and end at 11.
    size = expected.shape[-1]
    scale = 14 // size
    near = np.zeros((size, size), bool)
    near[4 // scale : 12 // scale, 4 // scale : 12 // scale] = True
    np.testing.assert_array_equal(actual[..., ~near], expected[..., ~near])


@pytest.mark.parametrize("value", [NAN, INF])
def test_winograd_with_what_is_not_finite(value: float) -> None:
    """What sees it is not finite either, and no more than the same tiles and the same filters."""
    case = Case(1, 2, 2, (18, 18), (3, 3), window=None, winograd=True)
    arrays = case.arrays("float32", draw_integers)
    finite = case.by_product(arrays)
    by_pixel = case.by_product({**arrays, "input": arrays["input"].at[0, 0, 9, 9].set(value)})
    # It is seen by outputs 7 to 9 of 16, in tiles of two that begin at 6 and end at 9.
    near = np.zeros(by_pixel.shape, bool)
    near[..., 6:10, 6:10] = True
    assert not np.isfinite(by_pixel[..., 7:10, 7:10]).any()
    np.testing.assert_array_equal(by_pixel[~near], finite[~near])
    by_filter = case.by_product({**arrays, "weight": arrays["weight"].at[0, 0, 1, 1].set(value)})
    assert not np.isfinite(by_filter[:, 0]).any()
    np.testing.assert_array_equal(by_filter[:, 1], finite[:, 1])


@pytest.mark.parametrize("window", [None, (2, 2)], ids=["alone", "pooled"])
def test_batches(window: Pair | None) -> None:
    """Many images, one, one without a batch, and none."""
    case = Case(3, 2, 4, (6, 5), (3, 2), window=window)
    arrays = dict(case.arrays("float32", draw_integers))
    images = arrays.pop("input")
    output = case.by_product({"input": images, **arrays})
    np.testing.assert_array_equal(case.by_product({"input": images[1:2], **arrays}), output[1:2])
    np.testing.assert_array_equal(case.by_product({"input": images[1], **arrays}), output[1])
    none, gradients = with_gradients(case.by_product, {"input": images[:0], **arrays})
    assert none.shape == (0, *output.shape[1:])
    assert all((gradients[0][name] == 0).all() for name in arrays)


@pytest.mark.parametrize("batch", [32, 200])
def test_batches_in_parts(batch: int) -> None:
    """A large batch is taken apart, and comes back in order and whole."""
    case = Case(batch, 1, 2, (5, 4), (2, 2))
    actual, expected = both(with_gradients, case, case.arrays("float32", draw_integers))
    np.testing.assert_array_equal(actual[0], expected[0])
    assert_close(actual[1], expected[1], "float32")


@pytest.mark.parametrize(
    "case",
    [
        Case(32, 1, 6, (16, 16), (5, 5)),
        Case(33, 2, 3, (15, 10), (3, 2), (2, 1), (1, 2), bias=False, window=(3, 2)),
        Case(40, 3, 2, (7, 9), (2, 3), padding="same", window=(1, 1)),
    ],
    ids=str,
)
def test_a_large_batch_without_derivatives(case: Case) -> None:
    """Where filters see little and nothing is differentiated, there are no patches."""
    arrays = case.arrays("float32", draw_integers)
    actual, expected = both(lambda run, arrays: run(arrays), case, arrays)
    np.testing.assert_array_equal(actual, expected)
    value, _ = jax.jit(lambda arrays: jax.jvp(case.by_product, (arrays,), (arrays,)))(arrays)
    np.testing.assert_array_equal(value, expected)
    program = jax.jit(case.by_product).lower(arrays).as_text()
    assert "multiply" in program
    assert "dot_general" not in program


@pytest.mark.parametrize(
    ("case", "in_one_loop"),
    [
        (Case(32, 2, 1, (8, 8), (4, 4)), True),
        (Case(32, 3, 1, (8, 8), (3, 4), window=(1, 1)), False),
        (Case(32, 2, 1, (7, 11), (4, 4), window=(4, 2)), False),
        (Case(16, 2, 1, (8, 8), (4, 4)), True),
        (Case(15, 2, 1, (8, 8), (4, 4)), False),
    ],
    ids=["128 products of 32", "36 numbers", "256 products", "16 images", "15 images"],
)
def test_where_there_are_no_patches(case: Case, in_one_loop: bool) -> None:
    """From 16 images on, for filters of up to 32 numbers, and up to 128 products."""
    program = jax.jit(case.by_product).lower(case.arrays("float32")).as_text()
    assert ("dot_general" not in program) is in_one_loop


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("bfloat16", {}),
        ("float16", {}),
        ("float32", {"dilation": (1, 2)}),
        ("float32", {"groups": 2, "stride": 2}),
    ],
    ids=["bfloat16", "float16", "dilation", "groups"],
)
def test_what_is_no_product(dtype: str, options: dict[str, Any]) -> None:
    """The half types, dilation and groups are the three functions after one another."""
    case = Case(2, 2 // options.get("groups", 1), 4, (9, 8), (3, 2))
    arrays = dict(case.arrays(dtype))
    arrays["input"] = jnp.asarray(np.random.default_rng(3).standard_normal((2, 2, 9, 8)), dtype)

    def one_by_one(arrays: Arrays) -> jax.Array:
        return F.max_pool2d(F.relu(F.conv2d(**arrays, **options)), (2, 1))

    def together(arrays: Arrays) -> jax.Array:
        return F.conv2d_relu_max_pool2d(**arrays, **options, pool_size=(2, 1))

    for one, other in zip(
        *(jax.tree.leaves(with_gradients(way, arrays)) for way in (together, one_by_one)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other, strict=True)


def test_explicitly_sharded_images_take_the_other_path() -> None:
    """On two devices that are told of the batch."""
    images = np.random.default_rng(0).normal(size=(4, 2, 8, 8)).astype(np.float32)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    for channels, groups in ((2, 1), (1, 2)):
        weight = np.ones((2, channels, 3, 3), np.float32)
        plain = F.conv2d(images, weight, groups=groups)
        with jax.set_mesh(mesh):
            split = jax.device_put(images, PartitionSpec("data"))
            found = jax.jit(functools.partial(F.conv2d, groups=groups))(split, weight)
            assert found.sharding.spec[0] == "data", found.sharding
        np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


def test_without_jax_s_layouts_only_speed_is_lost() -> None:
    """As if `jax.experimental.layout` were gone, in a process of its own."""
    assert products.HAS_LAYOUTS, "jax.experimental.layout has moved: convolutions are slower"
    code = """if True:
        import sys
        sys.modules["jax.experimental.layout"] = None
        import jax, numpy as np
        from jax import lax
        from fgrad import functional as F
        from fgrad.functional._cpu import products
        assert not products.HAS_LAYOUTS
        rng = np.random.default_rng(0)

        def by_lax(x, weight):
            return F.max_pool2d(F.relu(lax.conv(x, weight, (1, 1), "VALID")), 2)

        def fused(x, weight):
            return F.conv2d_relu_max_pool2d(x, weight, pool_size=2)

        for channels in (1, 40):
            x = rng.normal(size=(32, channels, 6, 6)).astype(np.float32)
            weight = rng.normal(size=(channels, channels, 3, 3)).astype(np.float32)
            found, expected = (
                [way(x, weight), jax.grad(lambda w: way(x, w).mean())(weight)]
                for way in (fused, by_lax)
            )
            for value, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-4)
    """
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
