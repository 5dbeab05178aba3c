"""Graphs against PyTorch's `retain_grad`: the notes' derivations, to the last bit of every node."""

import runpy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import SCRIPTS

from fgrad.graph import Graph, graph

torch = pytest.importorskip("torch")

DRAWN = runpy.run_path(str(SCRIPTS / "backprop_graph.py"))


def line(w: Any, b: Any, x: Any, y: Any) -> dict[str, Any]:
    """Return every step of the line's loss, as PyTorch's tensors."""
    wx = w * x
    y_hat = wx + b
    residual = y_hat - y
    return {"wx": wx, "y_hat": y_hat, "residual": residual, "loss": residual**2}


def parabola(w1: Any, w2: Any, b: Any, x: Any, y: Any) -> dict[str, Any]:
    """Return every step of the parabola's loss, as PyTorch's tensors."""
    x2 = x**2
    w1x2 = w1 * x2
    w2x = w2 * x
    terms = w1x2 + w2x
    y_hat = terms + b
    residual = y_hat - y
    return {
        "x2": x2,
        "w1x2": w1x2,
        "w2x": w2x,
        "terms": terms,
        "y_hat": y_hat,
        "residual": residual,
        "loss": residual**2,
    }


def points() -> list[tuple[float, ...]]:
    """Return the notes' point first, then others, large and small."""
    rng = np.random.default_rng(0)
    others = rng.normal(size=(40, 5)) * 10.0 ** rng.integers(-4, 5, (40, 5))
    return [(1.0, 1.0, 1.0, 1.0, 2.0), (1.0, 2.0, 2.0, 1.0, 2.0), *map(tuple, others.tolist())]


def assert_equal_to_pytorch(drawn: Graph, tensors: dict[str, Any]) -> None:
    assert {node.name for node in drawn.nodes} == set(tensors)
    for name, tensor in tensors.items():
        for what, ours, theirs in (
            ("value", drawn[name].value, tensor.detach()),
            ("adjoint", drawn[name].adjoint, tensor.grad),
        ):
            got, expected = np.asarray(ours), theirs.numpy()
            assert got.dtype == expected.dtype
            assert got.tobytes() == expected.tobytes(), f"{what} of {name}: {got}, not {expected}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("model", "steps", "names"),
    [("line", line, "w b x y"), ("parabola", parabola, "w1 w2 b x y")],
    ids=["line", "parabola"],
)
def test_every_node_of_the_notes_derivations(
    model: str, steps: Callable[..., dict[str, Any]], names: str, dtype: str
) -> None:
    for point in points():
        arguments = dict(zip(names.split(), point[-len(names.split()) :], strict=True))
        tensors = {
            name: torch.tensor(value, dtype=getattr(torch, dtype), requires_grad=True)
            for name, value in arguments.items()
        }
        made = steps(**tensors)
        for tensor in made.values():
            tensor.retain_grad()
        made["loss"].backward()
        with jax.enable_x64(dtype == "float64"):
            loss, _ = DRAWN["MODELS"][model]
            drawn = graph(loss, *(jnp.asarray(value, dtype) for value in arguments.values()))
            assert_equal_to_pytorch(drawn, tensors | made)


def test_a_cotangent_is_backward_s_argument() -> None:
    rng = np.random.default_rng(1)
    x, w, gradient = (
        rng.normal(size=shape).astype(np.float32) for shape in [(1, 4), (10, 4), (1, 10)]
    )
    inputs = [torch.from_numpy(array).requires_grad_() for array in (x, w)]
    hidden = torch.tanh(inputs[0]) @ inputs[1].T
    hidden.retain_grad()
    out = torch.relu(hidden)
    out.backward(torch.from_numpy(gradient))
    drawn = graph(lambda x, w: jax.nn.relu(jnp.tanh(x) @ w.T), x, w, cotangent=gradient)
    for name, tensor in (("x", inputs[0]), ("w", inputs[1]), ("dot_general", hidden)):
        np.testing.assert_allclose(
            np.asarray(drawn[name].adjoint), tensor.grad, rtol=1.3e-6, atol=1e-5
        )
