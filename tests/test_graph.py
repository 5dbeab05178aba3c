"""Graphs against `jax.vjp` on generated functions, through control flow, and on bad input."""

import functools
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from fgrad.graph import Graph, graph, named
from fgrad.types import Array, Params

ONE, TWO = jnp.float32(1), jnp.float32(2)

Step: TypeAlias = tuple[str, int, int]


@jax.custom_vjp
def tripled_backward(x: Array) -> Array:
    """Return x, with 3 for a derivative, which nothing but its rule knows."""
    return jnp.sin(x) + (x - jnp.sin(x))


tripled_backward.defvjp(lambda x: (tripled_backward(x), None), lambda _, g: (3 * g,))

OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "square": lambda a, _: a * a,
    "sin": lambda a, _: jnp.sin(a),
    "jit": lambda a, b: jax.jit(lambda a, b: jnp.tanh(a) * b)(a, b),
    "relu": lambda a, _: jax.nn.relu(a),
    "rule": lambda a, _: tripled_backward(a),
    "scope": lambda a, b: jax.named_call(lambda a, b: jnp.cos(a) + 0.5 * b, name="block")(a, b),
    "detach": lambda a, b: lax.stop_gradient(a) + b,
    "where": lambda a, b: jnp.where(a > b, a, 0.5 * b),
}


def run(program: list[Step], x: Array, y: Array, taps: list[Array]) -> Array:
    """Run a program; `taps` are added to its steps, so that adjoints are gradients of them."""
    values = [x, y]
    for k, (name, i, j) in enumerate(program):
        out = OPERATIONS[name](values[i % len(values)], values[j % len(values)])
        values.append(named(out + taps[k], f"step{k}"))
    return jnp.sum(values[-1])


def adjoint(traced: Graph, name: str) -> np.ndarray[Any, Any]:
    """Return a node's adjoint, which is there."""
    found = traced[name].adjoint
    assert found is not None
    return np.asarray(found)


steps = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 9), st.integers(0, 9))
numbers = st.floats(-2, 2, width=32)


@settings(deadline=None, max_examples=30)
@given(
    program=st.lists(steps, min_size=1, max_size=8),
    x=numbers,
    y=numbers,
    shape=st.sampled_from([(), (3,)]),
    opened=st.booleans(),
)
def test_every_adjoint_of_generated_functions_is_that_of_vjp(
    program: list[Step], x: float, y: float, shape: tuple[int, ...], opened: bool
) -> None:
    with jax.enable_x64(True):
        scale = jnp.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)
        args = (scale * x, scale * y, [jnp.zeros(shape) for _ in program])
        result, pull_back = jax.vjp(functools.partial(run, program), *args)
        expected_x, expected_y, expected_steps = pull_back(jnp.ones_like(result))

        traced = graph(functools.partial(run, program), *args)
        traced = traced.open() if opened else traced

        np.testing.assert_allclose(traced[traced.results[0]].value, result, rtol=1e-13)
        np.testing.assert_allclose(adjoint(traced, "x"), expected_x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(adjoint(traced, "y"), expected_y, rtol=1e-12, atol=1e-12)
        for k, expected in enumerate(expected_steps):
            for name in (f"step{k}", f"taps.{k}"):
                np.testing.assert_allclose(
                    adjoint(traced, name), expected, rtol=1e-12, atol=1e-12, err_msg=name
                )


@settings(deadline=None, max_examples=20)
@given(program=st.lists(steps, min_size=1, max_size=8), x=numbers, y=numbers)
def test_edges_hold_the_chain_rule(program: list[Step], x: float, y: float) -> None:
    with jax.enable_x64(True):
        taps = [jnp.zeros(()) for _ in program]
        traced = graph(functools.partial(run, program), jnp.asarray(x), jnp.asarray(y), taps)
        for node in traced.nodes:
            if node.name in traced.results or node.adjoint is None:
                continue
            parts = [
                adjoint * edge.derivative
                for edge in traced.edges
                if edge.source == node.name
                and edge.derivative is not None
                and (adjoint := traced[edge.target].adjoint) is not None
            ]
            np.testing.assert_allclose(node.adjoint, sum(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("function", "exact"),
    [(jnp.sin, np.cos), (jnp.exp, np.exp), (lambda x: x**3, lambda x: 3 * x**2)],
    ids=["sin", "exp", "cube"],
)
def test_a_local_derivative_is_the_textbooks(
    function: Callable[[Array], Array], exact: Callable[[np.float32], np.float32]
) -> None:
    (edge,) = graph(lambda x: function(x), jnp.float32(0.7)).edges
    assert edge.derivative is not None
    np.testing.assert_allclose(edge.derivative, exact(np.float32(0.7)), rtol=1e-6)


def test_an_operand_used_twice_has_two_edges() -> None:
    first, second = graph(lambda x: x * x, jnp.float32(3)).edges
    assert (first.operand, second.operand) == (0, 1)
    assert first.derivative == second.derivative == 3


def looped(x: Array, w: Array) -> Array:
    """Go through every kind of control flow once."""

    def step(carry: Array, item: Array) -> tuple[Array, Array]:
        return carry * item + w, carry + item

    last, all_steps = lax.scan(step, x, jnp.stack([x, w, x * w]), reverse=True)
    taken = lax.cond(last > 0, jnp.sin, jnp.cos, last)
    return lax.fori_loop(0, 3, lambda _, v: v * w, taken) + all_steps.sum()


@pytest.mark.parametrize("opened", [False, True], ids=["closed", "opened"])
@pytest.mark.parametrize("x", [0.7, -1.3])
def test_control_flow(x: float, opened: bool) -> None:
    args = (jnp.float32(x), jnp.float32(0.9))
    traced = graph(looped, *args)
    assert traced.closed == ("scan", "cond", "scan_2")
    traced = traced.open() if opened else traced
    expected = jax.grad(looped, argnums=(0, 1))(*args)
    np.testing.assert_allclose(
        [adjoint(traced, "x"), adjoint(traced, "w")], expected, rtol=2e-6, atol=1e-6
    )
    names = [node.name for node in traced.nodes]
    assert ("scan/step_3/mul" in names) == opened
    assert (("cond/sin" in names) or ("cond/cos" in names)) == opened


def test_a_while_loop_is_shown_closed_and_differentiated_open() -> None:
    def doubled(x: Array) -> Array:
        return lax.while_loop(lambda v: v < 10, lambda v: v * v, x) + x

    closed = graph(doubled, TWO)
    assert closed["while"].value == 16
    assert closed["while"].adjoint == 1
    assert closed["x"].adjoint is None  # JAX has no way back through it
    assert closed.open("while")["x"].adjoint == 4 * 2**3 + 1  # x^4 + x, the steps that were run


def test_a_function_with_its_own_rule_is_one_operation() -> None:
    traced = graph(lambda x: tripled_backward(x) * 2, TWO).open()
    assert [node.op for node in traced.nodes] == ["input", "tripled_backward", "mul"]
    assert traced["x"].adjoint == 6


def with_rule(rule: Callable[[None, Array], Any]) -> Callable[[Array], Array]:
    """Return a function with a `custom_vjp` rule of its own."""
    sine = jax.custom_vjp(lambda x: jnp.sin(x))
    sine.defvjp(lambda x: (jnp.sin(x), None), rule)
    return lambda x: named(sine(x), "sine") * 2


def refused(_: None, g: Array) -> tuple[Array]:
    raise ValueError("no such luck")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (refused, "no such luck"),
        (lambda _, g: (g, g), "Custom VJP bwd rule .*must produce .* structure"),
        (lambda _, g: (jnp.ones(3),), "Custom VJP bwd rule .*must produce .* shapes do not match"),
    ],
    ids=["raises", "structure", "shape"],
)
def test_a_rule_that_fails_is_named(rule: Callable[[None, Array], Any], message: str) -> None:
    named_so = rf"^fn: sine: expected a derivative rule that works, got: {message}"
    with pytest.raises(ValueError, match=named_so) as raised:
        graph(with_rule(rule), ONE)
    assert raised.value.__cause__ is not None


def multiplied(x: Array) -> Array:
    """Return a window's products, which JAX has no derivative of."""
    return lax.reduce_window(x * jnp.ones(2), 1.0, lax.mul, (2,), (1,), "VALID")[0]


def called_back(x: Array) -> Array:
    """Return what the host does with `x`."""
    return jax.pure_callback(np.asarray, jax.ShapeDtypeStruct((), jnp.float32), x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: lax.while_loop(lambda v: v < 10, lambda v: v * v, jax.nn.relu(x)),
        multiplied,
        called_back,
        lambda x: lax.betainc(x, x, jnp.float32(0.5)),
    ],
    ids=["while", "window", "callback", "betainc"],
)
def test_what_jax_has_no_way_back_through_leaves_no_adjoint(
    function: Callable[[Array], Array],
) -> None:
    assert graph(function, TWO)["x"].adjoint is None


def test_what_differs_by_platform_is_drawn_by_default() -> None:
    def function(x: Array) -> Array:
        y = lax.platform_dependent(x, cpu=lambda x: (x + x) * x / 2, default=lambda x: x * x)
        return jnp.sin(y)

    traced = graph(function, TWO)
    assert [node.name for node in traced.nodes if node.kind == "operation"] == ["mul", "sin"]
    np.testing.assert_allclose(traced["x"].adjoint, 4 * np.cos(4), rtol=1e-6)


def test_what_the_function_raises_passes_as_it_is() -> None:
    with pytest.raises(KeyError, match="bias"):
        graph(lambda x: x * {"weight": 2.0}["bias"], ONE)


def layers(params: Params, x: Array) -> Array:
    """Run LeNet's kinds of layers, each in a scope of its name."""
    with jax.named_scope("conv1"):
        x = lax.conv_general_dilated(x, params["conv1"]["weight"], (1, 1), "VALID")
        x = x + params["conv1"]["bias"][None, :, None, None]
    x = jax.nn.relu(x)
    with jax.named_scope("pool"):
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = x.reshape(x.shape[0], -1)
    with jax.named_scope("fc1"), jax.named_scope("linear"):
        return x @ params["fc1"]["weight"].T + params["fc1"]["bias"]


def layers_arguments() -> tuple[Params, Array]:
    draw = np.random.default_rng(0).standard_normal
    shapes = {"conv1": ((6, 1, 5, 5), (6,)), "fc1": ((10, 1176), (1, 10))}
    params = {
        name: {
            "weight": jnp.asarray(draw(weight), jnp.float32),
            "bias": jnp.asarray(draw(bias), jnp.float32),
        }
        for name, (weight, bias) in shapes.items()
    }
    return params, jnp.asarray(draw((1, 1, 32, 32)), jnp.float32)


@pytest.fixture(scope="module")
def network() -> Graph:
    return graph(layers, *layers_arguments(), cotangent=jnp.ones((1, 10)))


def test_a_network_reads_as_its_layers(network: Graph) -> None:
    operations = [node.name for node in network.nodes if node.kind in ("operation", "scope")]
    assert operations == ["conv1", "relu", "pool", "reshape", "fc1"]
    assert network.closed == ("conv1", "pool", "fc1")
    assert network["conv1"].operands == ("x", "params.conv1.weight", "params.conv1.bias")
    assert network["conv1"].value.shape == (1, 6, 28, 28)
    assert network.results == ("fc1",)


def test_a_network_s_gradients_are_those_of_vjp(network: Graph) -> None:
    args = layers_arguments()
    _, pull_back = jax.vjp(layers, *args)
    params, x = pull_back(jnp.ones((1, 10)))
    np.testing.assert_allclose(adjoint(network, "x"), x, rtol=1e-5, atol=1e-5)
    for layer, arrays in params.items():
        for name, expected in arrays.items():
            got = adjoint(network, f"params.{layer}.{name}")
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_scopes_open_one_at_a_time_and_all_at_once(network: Graph) -> None:
    assert network.open("fc1").closed == ("conv1", "pool", "fc1/linear")
    inside = network.open("fc1/linear")
    assert {node.scope for node in inside.nodes} == {"", "fc1/linear"}
    assert inside["fc1/linear/dot_general"].op == "dot_general"
    assert network.open().closed == ()
    assert inside.open("conv1").opened == {"conv1", "fc1", "fc1/linear"}


def test_a_network_is_drawn_in_time(network: Graph) -> None:
    start = time.perf_counter()
    network.open().render("svg")
    assert time.perf_counter() - start < 5


def test_a_long_loop_is_drawn_in_time() -> None:
    def loop(x: Array, w: Array) -> Array:
        last, all_steps = lax.scan(lambda c, _: (jnp.tanh(c * w) + x, c * 2), x, length=60)
        return last + all_steps.sum()

    traced = graph(loop, ONE, TWO).open()
    assert len(traced.nodes) > 240
    start = time.perf_counter()
    traced.render("svg")
    assert time.perf_counter() - start < 5


def test_a_whole_jit_is_gone_through() -> None:
    assert [n.op for n in graph(jax.jit(lambda x: jnp.sin(x) * 2), ONE).nodes] == [
        "input",
        "sin",
        "mul",
    ]


def test_a_jit_is_called_by_its_functions_name_without_underscores_before_it() -> None:
    @jax.jit
    def _(x: Array) -> Array:
        return jnp.sin(x)

    @jax.jit
    def _private(x: Array) -> Array:
        return jnp.cos(x)

    traced = graph(lambda x: _(x) * _private(x), ONE)
    assert [n.name for n in traced.nodes] == ["x", "_", "private", "mul"]


def test_names_come_from_the_signature_and_never_clash() -> None:
    def function(mul: Array, *rest: Array) -> Array:
        return named(named(mul * rest[0], "y") * rest[1], "y")

    assert [n.name for n in graph(function, ONE, ONE, ONE).nodes] == [
        "mul",
        "rest.0",
        "rest.1",
        "y",
        "y_2",
    ]


@pytest.mark.parametrize(
    ("function", "adjoint"),
    [(lambda x: x, 1), (lambda x: 2.0, 0), (lambda x: jnp.cos(x) * 0, 0)],
    ids=["the argument", "a number", "zero"],
)
def test_results_that_are_hardly_computed(
    function: Callable[[Array], Array], adjoint: float
) -> None:
    assert graph(function, ONE)["x"].adjoint == adjoint


def test_a_constant_is_a_node() -> None:
    held = np.arange(3, dtype=np.float32)
    traced = graph(lambda x: (held * x).sum(), TWO)
    assert traced["constant_1"].kind == "constant"
    np.testing.assert_array_equal(traced["constant_1"].value, held)


def test_integers_on_the_way_have_no_adjoint() -> None:
    traced = graph(lambda x: x[jnp.argmax(x)], jnp.array([1.0, 5.0]))
    assert traced["argmax"].adjoint is None
    np.testing.assert_array_equal(traced["x"].adjoint, [0, 1])


def test_several_outputs_are_told_apart() -> None:
    traced = graph(lambda x: lax.top_k(x, 1)[0][0], jnp.array([1.0, 5.0]))
    (node,) = (node for node in traced.nodes if node.op == "top_k")
    assert len(node.values) == 2
    with pytest.raises(ValueError, match="value: expected a node with one output, got top_k"):
        _ = node.value
    assert "top_k[0]" in [operand for node in traced.nodes for operand in node.operands]


def tree(x: Array) -> dict[str, Array]:
    """Return a pytree."""
    return {"a": x * 2}


X23 = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("function", "args", "cotangent", "message"),
    [
        (3, (ONE,), None, r"fn: expected a function, got 3"),
        (lambda x: x if x > 0 else -x, (ONE,), None, r"fn: expected a function that JAX can trace"),
        (lambda x: float(x), (ONE,), None, r"fn: expected a function that JAX can trace"),
        (lambda x: x[x > 0], (X23,), None, r"fn: expected a function that JAX can trace"),
        (lambda x: "text", (ONE,), None, r"fn: expected a function that JAX can trace"),
        (lambda x: x > 0, (ONE,), None, r"fn: expected a floating-point result, got bool"),
        (lambda x: (), (ONE,), None, r"fn: expected a result with an array in it"),
        (lambda x: x, (ONE, ONE), None, r"args: expected what fn takes, got 2"),
        (lambda x: x, (1,), None, r"args: x: expected floating point.* got int32; let fn close"),
        (lambda p: p["w"], ({"w": "a"},), None, r"args: p.w: expected an array, got 'a'"),
        (lambda x: x * 2, (X23,), None, r"cotangent: expected one for .* of shape \(2, 3\)"),
        (lambda x: x * 2, (X23,), X23[0], r"cotangent: expected .* \(2, 3\), got \(3,\)"),
        (tree, (X23,), X23, r"cotangent: expected the result's structure"),
        (lambda x: x, (ONE,), 1j, r"cotangent: expected floating point, .* got complex128"),
        (lambda x: x, (ONE,), 1, r"cotangent: expected floating point, .* got int64"),
        (lambda x: x, (ONE,), "a", r"cotangent: expected floating point, .* got <U1"),
        (tree, (X23,), {"a": X23 > 0}, r"cotangent\['a'\]: expected floating .* got bool"),
        (tree, (X23,), {"a": ONE}, r"cotangent\['a'\]: expected .* \(2, 3\), got \(\)"),
    ],
)
def test_bad_input_is_named(
    function: Callable[..., Params], args: tuple[Params, ...], cotangent: Params, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        graph(function, *args, cotangent=cotangent)


def test_what_cannot_be_opened_is_named() -> None:
    traced = graph(lambda x: tripled_backward(x), ONE)
    with pytest.raises(ValueError, match=r"names: expected nodes that can be opened.*tripled"):
        traced.open("tripled_backward")
    with pytest.raises(KeyError, match="name: expected one of"):
        _ = traced["y"]
