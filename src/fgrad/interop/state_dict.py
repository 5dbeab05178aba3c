"""Parameters to and from a PyTorch `state_dict`, a flat mapping of names to arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgrad.types import ArrayLike, Params


def to_state_dict(params: Params) -> dict[str, np.ndarray[Any, Any]]:
    """Return the entries of `params` by their dotted paths.

    Args:
        params: Nested dicts of arrays.

    Returns:
        NumPy arrays, writable copies in the order of `params`. In PyTorch,
        `net.load_state_dict({name: torch.from_numpy(x) for name, x in state_dict.items()})`.

    Raises:
        ValueError: If `params` is no dict, a key is no string, empty, or has a dot in it, or a leaf
            is no array.

    Example:
        >>> to_state_dict({"fc": {"bias": np.zeros(2)}})
        {'fc.bias': array([0., 0.])}

    Source: `torch.nn.Module.state_dict`.
    """
    flat: dict[str, np.ndarray[Any, Any]] = {}

    def copy(name: str, leaf: object) -> None:
        flat[name] = np.array(_to_numpy("params", name, leaf), order="C")

    map_leaves(copy, "params", params)
    return flat


def from_state_dict(state_dict: Mapping[str, Any], like: Params | None = None) -> Params:
    """Return nested dicts from the entries of a PyTorch `state_dict`.

    Args:
        state_dict: Dotted names to arrays, or to PyTorch's tensors. Nothing is shared with them.
        like: Parameters with the names, shapes and dtypes to expect, as a model's `init` returns
            them or `jax.eval_shape` of it does. As in PyTorch, numbers are converted to
            these dtypes. Without it the entries are taken as they are.

    Returns:
        Parameters as JAX arrays.

    Raises:
        ValueError: If entries are missing, extra, of another shape than in `like` or complex where
            that is real, all of them listed; if an entry is no array, or a tensor that is sparse,
            quantised, without data or of a dtype that NumPy has not (float8), a name has an empty
            part, or one name is both an entry and the start of another's; if `like` is refused as
            `params` of `to_state_dict`; or if, without `like`, an entry has 64 bits that JAX is not
            set to keep.

    Example:
        >>> from_state_dict({"fc.bias": np.zeros(2, np.float32)})
        {'fc': {'bias': Array([0., 0.], dtype=float32)}}
        >>> from_state_dict({"fc.bias": np.zeros(2)}, like={"fc": {"weight": np.zeros((2, 3))}})
        Traceback (most recent call last):
          ...
        ValueError: state_dict: expected the entries of like, got differences
          missing: fc.weight of shape (2, 3)
          extra: fc.bias of shape (2,)

    Source: `torch.nn.Module.load_state_dict`.
    """
    if not isinstance(state_dict, Mapping):
        raise ValueError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
    flat = {name: _to_numpy("state_dict", name, value) for name, value in state_dict.items()}
    if like is None:
        _check_kept(flat)
        return _nest({name: jnp.array(value) for name, value in flat.items()})
    expected: dict[str, jax.ShapeDtypeStruct] = {}

    def expect(name: str, leaf: ArrayLike | jax.ShapeDtypeStruct) -> None:
        if not hasattr(leaf, "dtype"):
            _to_numpy("like", name, leaf)
        expected[name] = jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf))

    map_leaves(expect, "like", like)
    check_entries("state_dict", flat, expected, "like")
    return map_leaves(
        lambda name, leaf: jnp.array(flat[name], dtype=expected[name].dtype), "like", like
    )


def map_leaves(
    function: Callable[[str, Any], Any], argument: str, params: Params, prefix: str = ""
) -> Params:
    """Return nested dicts like `params`, of `function(dotted name, leaf)`.

    An error calls `params` by its name as an argument.
    """
    if not isinstance(params, Mapping):
        raise ValueError(f"{argument}: expected nested dicts, got {type(params).__name__}")
    mapped = {}
    for key, value in params.items():
        if not isinstance(key, str) or not key or "." in key:
            raise ValueError(f"{argument}: expected keys that are names without a dot, got {key!r}")
        if isinstance(value, Mapping):
            mapped[key] = map_leaves(function, argument, value, f"{prefix}{key}.")
        else:
            mapped[key] = function(prefix + key, value)
    return mapped


def check_entries(
    argument: str,
    found: Mapping[str, np.ndarray[Any, Any]],
    expected: Mapping[str, jax.ShapeDtypeStruct],
    source: str,
) -> None:
    """Refuse `found` if its names and shapes are not those of `expected`, naming each.

    Numbers convert to the dtypes of `expected`, but complex ones to no real one.
    """
    differences = [
        f"missing: {name} of shape {leaf.shape}"
        for name, leaf in expected.items()
        if name not in found
    ]
    for name, value in found.items():
        if name not in expected:
            differences.append(f"extra: {name} of shape {value.shape}")
        elif value.shape != (shape := expected[name].shape):
            differences.append(f"shape: {name}, expected {shape}, got {value.shape}")
        elif np.iscomplexobj(value) and not jnp.iscomplexobj(expected[name]):
            dtype = expected[name].dtype
            differences.append(f"dtype: {name}, expected real numbers, {dtype}, got {value.dtype}")
    if differences:
        head = f"{argument}: expected the entries of {source}, got differences"
        raise ValueError("\n  ".join([head, *differences]))


def _to_numpy(argument: str, name: str, value: object) -> np.ndarray[Any, Any]:
    try:
        array = _tensor_to_numpy(value) if hasattr(value, "detach") else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # PyTorch's or NumPy's reason
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{argument}[{name!r}]: expected a dense array of a dtype that NumPy has, got "
            f"{_kind(value)}: {reason}"
        ) from error
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise ValueError(f"{argument}[{name!r}]: expected an array, got {_kind(value)}")
    return array


def _tensor_to_numpy(tensor: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401  (PyTorch's)
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    # NumPy alone has no bfloat16, so that PyTorch hands none over; JAX has.
    if str(tensor.dtype) == "torch.bfloat16":
        return np.asarray(tensor.float()).astype(jnp.bfloat16)
    return np.asarray(tensor)


def _kind(value: object) -> str:
    """Return what something is, of a PyTorch tensor also its dtype, layout and device."""
    words = [getattr(value, name, None) for name in ("dtype", "layout", "device")]
    return " ".join([type(value).__name__, *(str(word) for word in words if word is not None)])


def _check_kept(flat: Mapping[str, np.ndarray[Any, Any]]) -> None:
    lost = [
        f"{name} ({value.dtype})"
        for name, value in flat.items()
        if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype
    ]
    if lost:
        raise ValueError(
            "state_dict: expected jax_enable_x64 or like for entries of 64 bits, got "
            + ", ".join(lost)
        )


def _nest(flat: Mapping[str, jax.Array]) -> Params:
    nested: Params = {}
    for name, value in flat.items():
        if not isinstance(name, str) or not all(name.split(".")):
            raise ValueError(f"state_dict: expected names with no empty part, got {name!r}")
        *parents, last = name.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or last in node:
            raise ValueError(f"state_dict: expected {name} to be no part of another entry's name")
        node[last] = value
    return nested
