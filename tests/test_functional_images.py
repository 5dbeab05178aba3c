"""Convolution and pooling against loops over windows, written out."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from fgrad import functional

Pair = tuple[int, int]
Call = Callable[..., jax.Array]

INF, NAN = float("inf"), float("nan")

# Few examples, and the same ones every time: each compiles.
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    """Return the strategy of two integers."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


def windows(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool = False
) -> Iterator[Iterator[tuple[tuple[int, int, int], ...]]]:
    """Yield the rows of windows; a window lists its places, and whether they are in the image.

    The windows end inside the padding. In ceil mode one more covers what these leave over, if it
    starts inside the image or before.
    """
    ends = []
    for axis in (0, 1):
        end, span = size[axis] + padding[axis], (kernel[axis] - 1) * dilation[axis] + 1
        starts = range(-padding[axis], end, stride[axis])
        whole = [start for start in starts if start + span <= end]
        rest = [start for start in starts if start + span > end and start < size[axis]]
        covered = bool(whole) and whole[-1] + span == end
        ends.append(whole + ([] if covered or not ceil_mode else rest[:1]))
    for top in ends[0]:
        yield (
            tuple(
                (
                    top + row * dilation[0],
                    left + column * dilation[1],
                    0 <= top + row * dilation[0] < size[0]
                    and 0 <= left + column * dilation[1] < size[1],
                )
                for row, column in itertools.product(range(kernel[0]), range(kernel[1]))
            )
            for left in ends[1]
        )


def integers(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return small integers, with which float32 makes no error."""
    return np.random.default_rng(0).integers(-4, 5, shape).astype(np.float32)


@few
@given(pairs(3, 7), pairs(1, 3), pairs(1, 3), pairs(0, 2), pairs(1, 2))
def test_conv2d(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """Sums of products, each window in turn."""
    image, filters, bias = integers((2, *size)), integers((3, 2, *kernel)), integers((3,))
    rows = [
        [
            bias
            + sum(
                filters[:, :, tap // kernel[1], tap % kernel[1]] @ image[:, row, column]
                for tap, (row, column, inside) in enumerate(window)
                if inside
            )
            for window in line
        ]
        for line in windows(size, kernel, stride, padding, dilation)
    ]
    assume(rows and rows[0])
    output = functional.conv2d(image, filters, bias, stride, padding, dilation)
    np.testing.assert_array_equal(output, np.moveaxis(np.array(rows), -1, 0))


def test_conv2d_by_groups() -> None:
    """Each group is a convolution of its own."""
    image, filters = integers((4, 5, 5)), integers((6, 2, 3, 3))
    halves = [
        functional.conv2d(image[:2], filters[:3]),
        functional.conv2d(image[2:], filters[3:]),
    ]
    together = functional.conv2d(image, filters, groups=2)
    np.testing.assert_array_equal(together, jnp.concatenate(halves))


@few
@given(pairs(3, 6), pairs(1, 3), pairs(1, 3), pairs(0, 2), pairs(1, 2), st.integers(1, 2))
def test_conv2d_channel_by_channel(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, multiplier: int
) -> None:
    """Each channel is a convolution of its own, and so are the gradients."""
    image, filters = integers((2, 3, *size)), integers((3 * multiplier, 1, *kernel))
    bias = integers((3 * multiplier,))
    spans = [(k - 1) * step for k, step in zip(kernel, dilation, strict=True)]
    assume(all(n + 2 * pad > s for n, pad, s in zip(size, padding, spans, strict=True)))

    def together(image: jax.Array, filters: jax.Array) -> jax.Array:
        return functional.conv2d(image, filters, bias, stride, padding, dilation, groups=3)

    def apart(image: jax.Array, filters: jax.Array) -> jax.Array:
        parts = [
            functional.conv2d(image[:, c : c + 1], filters[of], bias[of], stride, padding, dilation)
            for c in range(3)
            for of in [slice(c * multiplier, (c + 1) * multiplier)]
        ]
        return jnp.concatenate(parts, axis=1)

    expected, pullback = jax.vjp(apart, image, filters)
    output, pull = jax.vjp(together, image, filters)
    np.testing.assert_array_equal(output, expected)
    cotangent = integers(output.shape)
    for grad, wanted in zip(pull(cotangent), pullback(cotangent), strict=True):
        np.testing.assert_array_equal(grad, wanted)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conv2d_keeps_an_infinity_in_its_group(dtype: str) -> None:
    with jax.enable_x64(True):
        image = jnp.ones((1, 3, 5, 5), dtype).at[0, 0, 2, 2].set(jnp.inf)
        output = functional.conv2d(image, jnp.ones((3, 1, 1, 1), dtype), groups=3)
        np.testing.assert_array_equal(output, image)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_conv2d_of_the_same_size(kernel: Pair, dilation: int) -> None:
    """The odd zero goes to the end."""
    image, filters = integers((1, 5, 6)), integers((1, 1, *kernel))
    spans = [dilation * (k - 1) for k in kernel]
    padded = np.pad(image, [(0, 0)] + [(span // 2, span - span // 2) for span in spans])
    same = functional.conv2d(image, filters, padding="same", dilation=dilation)
    assert same.shape == (1, 5, 6)
    expected = functional.conv2d(padded, filters, padding="valid", dilation=dilation)
    np.testing.assert_array_equal(same, expected)


@few
@given(pairs(3, 7), pairs(1, 3), pairs(1, 3), pairs(0, 1), pairs(1, 2), st.booleans())
def test_max_pool2d(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> None:
    """The first maximum of each window in turn, its place and its gradient."""
    padding = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
    image = integers(size)
    places = [
        [
            max(
                ((row, column) for row, column, inside in window if inside),
                key=lambda place: image[place],
                default=None,
            )
            for window in line
        ]
        for line in windows(size, kernel, stride, padding, dilation, ceil_mode)
    ]
    assume(places and places[0])
    found = [place for line in places for place in line]
    assume(None not in found)  # dilated, a window may see nothing but padding
    chosen = [place for place in found if place is not None]

    def pool(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        return functional.max_pool2d(
            image, kernel, stride, padding, dilation, ceil_mode, return_indices=True
        )

    maxima, pull, indices = jax.vjp(pool, jnp.asarray(image)[None], has_aux=True)
    assert maxima.shape == indices.shape == (1, len(places), len(places[0]))
    np.testing.assert_array_equal(maxima.ravel(), [image[place] for place in chosen])
    np.testing.assert_array_equal(
        indices.ravel(), [row * size[1] + column for row, column in chosen]
    )
    expected = np.zeros(size, np.float32)
    for place in chosen:
        expected[place] += 1
    np.testing.assert_array_equal(pull(jnp.ones_like(maxima))[0][0], expected)


@pytest.mark.parametrize(
    ("window", "place"),
    [
        ([2.0, 2.0, 2.0, 2.0], 0),
        ([1.0, 3.0, 3.0, 2.0], 1),
        ([-INF, -INF, -INF, -INF], 0),
        ([NAN, 1.0, NAN, INF], 2),
        ([INF, INF, 0.0, NAN], 3),
    ],
)
def test_max_pool2d_at_ties(window: list[float], place: int) -> None:
    """The first maximum, or the last NaN, takes the gradient."""
    image = jnp.array(window).reshape(1, 2, 2)
    _, index = functional.max_pool2d(image, 2, return_indices=True)
    assert index.item() == place
    grad = jax.grad(lambda image: functional.max_pool2d(image, 2).sum())(image)
    np.testing.assert_array_equal(grad.ravel(), np.eye(4)[place])


def test_reduce_window_gives_the_gradient_to_the_first_maximum() -> None:
    """As `fgrad.parity` advises those whose pooling does not; JAX does not say so."""

    def pooled(image: jax.Array) -> jax.Array:
        return lax.reduce_window(image, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID").sum()

    image = jnp.array([[1.0, 3.0, 2.0, 2.0], [3.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(jax.grad(pooled)(image), [[0, 1, 1, 0], [0, 0, 0, 0]])


def test_max_pool2d_does_not_choose_the_padding() -> None:
    """At minus infinity, the first place inside the image counts."""
    image = jnp.full((1, 2, 2), -INF)
    grad = jax.grad(lambda image: functional.max_pool2d(image, 3, 1, 1).sum())(image)
    np.testing.assert_array_equal(grad[0], [[4, 0], [0, 0]])


@few
@given(pairs(3, 7), pairs(1, 3), pairs(1, 3), pairs(0, 1), st.booleans(), st.booleans())
def test_avg_pool2d(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool, include_pad: bool
) -> None:
    """The mean of each window in turn; what lies beyond the padding never counts."""
    padding = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
    image = integers(size)
    means = [
        [
            np.float32(sum(image[row, column] for row, column, inside in window if inside))
            / np.float32(
                sum(
                    inside
                    or (
                        include_pad and row < size[0] + padding[0] and column < size[1] + padding[1]
                    )
                    for row, column, inside in window
                )
            )
            for window in line
        ]
        for line in windows(size, kernel, stride, padding, (1, 1), ceil_mode)
    ]
    output = functional.avg_pool2d(image[None], kernel, stride, padding, ceil_mode, include_pad)
    np.testing.assert_array_equal(output[0], means)


def test_avg_pool2d_by_another_divisor() -> None:
    """The sum of the window over anything but 0."""
    image = jnp.ones((1, 2, 2))
    assert functional.avg_pool2d(image, 2, divisor_override=-8).item() == -0.5


@few
@given(pairs(1, 7), pairs(0, 9))
def test_adaptive_avg_pool2d(size: Pair, output_size: Pair) -> None:
    """The mean between the floor and the ceiling of each share."""
    image = integers(size)

    def shares(axis: int) -> list[slice]:
        length, count = size[axis], output_size[axis]
        return [slice(i * length // count, -((-i - 1) * length // count)) for i in range(count)]

    output = functional.adaptive_avg_pool2d(image[None], output_size)
    assert output.shape == (1, *output_size)
    for (i, rows), (j, columns) in itertools.product(enumerate(shares(0)), enumerate(shares(1))):
        np.testing.assert_allclose(output[0, i, j], image[rows, columns].mean(), 1e-6, 1e-6)


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        (lambda f, x, w: f.max_pool2d(x, [2]), lambda f, x, w: f.max_pool2d(x, 2)),
        (lambda f, x, w: f.max_pool2d(x, 3, []), lambda f, x, w: f.max_pool2d(x, 3)),
        (
            lambda f, x, w: f.avg_pool2d(x, (3, 3), (), (1,)),
            lambda f, x, w: f.avg_pool2d(x, 3, 3, 1),
        ),
        (
            lambda f, x, w: f.conv2d(x, w, stride=(2,), padding=[1], dilation=(1,)),
            lambda f, x, w: f.conv2d(x, w, stride=2, padding=1),
        ),
        (
            lambda f, x, w: f.max_pool2d(x, np.int64(2), [np.int32(1), 2], dilation=(np.int8(2),)),
            lambda f, x, w: f.max_pool2d(x, 2, (1, 2), dilation=2),
        ),
    ],
    ids=["one for both", "no stride", "avg_pool2d", "conv2d", "NumPy's integers"],
)
def test_pytorch_s_odd_forms(odd: Call, plain: Call) -> None:
    """One number in a sequence stands for both axes, an empty stride for the default."""
    image, filters = integers((1, 6, 7)), integers((2, 1, 2, 3))
    expected = plain(functional, image, filters)
    np.testing.assert_array_equal(odd(functional, image, filters), expected)


def test_adaptive_avg_pool2d_keeps_an_axis() -> None:
    """None stands for the length that it has."""
    image = integers((1, 4, 6))
    kept = functional.adaptive_avg_pool2d(image, (None, 3))
    np.testing.assert_array_equal(kept, functional.avg_pool2d(image, (1, 2)))


@pytest.mark.parametrize("name", ["conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"])
def test_batches(name: str) -> None:
    """One image, many, and none."""
    second: Any = {"conv2d": integers((3, 2, 2, 2))}.get(name, 2)
    function = getattr(functional, name)
    batch = integers((3, 2, 4, 5))
    many = function(batch, second)
    np.testing.assert_array_equal(many[1], function(batch[1], second))
    assert function(batch[:0], second).shape == (0, *many.shape[1:])


IMAGE, FILTERS = jnp.ones((1, 4, 6, 7)), jnp.ones((6, 4, 3, 3))

REFUSED: list[tuple[str, Callable[..., object], tuple[Any, ...], dict[str, Any]]] = [
    (r"input: expected shape .+, got \(6, 7\)", functional.conv2d, (IMAGE[0, 0], FILTERS), {}),
    (r"input: expected shape .+, got \(1, 0, 6, 7\)", functional.avg_pool2d, (IMAGE[:, :0], 2), {}),
    ("input: expected 4 channels, .+, got 3", functional.conv2d, (IMAGE[:, :3], FILTERS), {}),
    (
        "weight: expected a dilated width of at most .+, 7, got 9",
        functional.conv2d,
        (IMAGE, FILTERS),
        {"dilation": (1, 4)},
    ),
    (
        r"weight: expected shape .+, got \(6, 4, 3\)",
        functional.conv2d,
        (IMAGE, FILTERS[..., 0]),
        {},
    ),
    (
        r"bias: expected shape \(6,\), got \(1,\)",
        functional.conv2d,
        (IMAGE, FILTERS, jnp.ones(1)),
        {},
    ),
    (
        "stride: expected an integer, at least 1, got 0",
        functional.conv2d,
        (IMAGE, FILTERS),
        {"stride": 0},
    ),
    (
        "padding: expected a number, 'valid' or 'same', got 'SAME'",
        functional.conv2d,
        (IMAGE, FILTERS),
        {"padding": "SAME"},
    ),
    (
        r"padding: expected a number with stride \(2, 2\), got 'same'",
        functional.conv2d,
        (IMAGE, FILTERS),
        {"padding": "same", "stride": 2},
    ),
    (
        "groups: expected a divisor of .+ 6 .+, got 4",
        functional.conv2d,
        (IMAGE, FILTERS),
        {"groups": 4},
    ),
    (
        "kernel_size: expected an integer or two of them, got .1, 2, 3.",
        functional.max_pool2d,
        (IMAGE, (1, 2, 3)),
        {},
    ),
    (r"kernel_size: expected a window, .+, got \(8, 8\)", functional.max_pool2d, (IMAGE, 8), {}),
    (
        r"padding: expected at most half of kernel_size, \(3, 3\), got \(2, 2\)",
        functional.avg_pool2d,
        (IMAGE, 3, 1, 2),
        {},
    ),
    (
        "ceil_mode: expected True or False, got 1",
        functional.max_pool2d,
        (IMAGE, 2),
        {"ceil_mode": 1},
    ),
    (
        "return_indices: expected True or False, got 1",
        functional.max_pool2d,
        (IMAGE, 2),
        {"return_indices": 1},
    ),
    (
        "count_include_pad: expected True or False, got 0",
        functional.avg_pool2d,
        (IMAGE, 2),
        {"count_include_pad": 0},
    ),
    (
        "divisor_override: expected an integer other than 0, got 0",
        functional.avg_pool2d,
        (IMAGE, 2),
        {"divisor_override": 0},
    ),
    (
        "output_size: expected an integer, at least 0, got -1",
        functional.adaptive_avg_pool2d,
        (IMAGE, (1, -1)),
        {},
    ),
    (
        "output_size: expected an integer or two of them, got .1,.",
        functional.adaptive_avg_pool2d,
        (IMAGE, (1,)),
        {},
    ),
]


@pytest.mark.parametrize(
    ("message", "function", "args", "options"), REFUSED, ids=[case[0] for case in REFUSED]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_refusals(
    compiled: bool,
    message: str,
    function: Callable[..., object],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    """By name, with what was expected and what came, eagerly and while tracing."""
    first, *others = args

    def call(input: jax.Array) -> object:
        return function(input, *others, **options)

    with pytest.raises(ValueError, match=f"^{message}"):
        (jax.jit(call) if compiled else call)(first)
