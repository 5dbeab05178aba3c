"""Parameters to and from safetensors files, which PyTorch's world reads as well."""

import os

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fgrad.files import open_regular, write_whole
from fgrad.interop.state_dict import from_state_dict, to_state_dict
from fgrad.types import Params


def save_safetensors(path: str | os.PathLike[str], params: Params) -> None:
    """Write `params` to a file, whole or not at all.

    Args:
        path: Where to; a file that is there is replaced, and stays as it was if anything fails.
        params: Nested dicts of arrays; their dotted paths are the names in the file.

    Raises:
        ValueError: As `to_state_dict`; or if the file format has no such dtype.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_safetensors(f"{folder}/line.safetensors", {"weight": jnp.ones((1, 1))})
        ...     load_safetensors(f"{folder}/line.safetensors")
        {'weight': Array([[1.]], dtype=float32)}

    Source: `safetensors.torch.save_file`.
    """
    flat = to_state_dict(params)
    try:
        data = save(flat)
    except SafetensorError as error:
        dtypes = ", ".join(f"{name} ({value.dtype})" for name, value in flat.items())
        raise ValueError(
            f"params: expected dtypes of safetensors files, got {dtypes}: {error}"
        ) from error
    write_whole(path, data)


def load_safetensors(path: str | os.PathLike[str], like: Params | None = None) -> Params:
    """Read parameters from a file.

    Args:
        path: The file.
        like: The names, shapes and dtypes to expect, as in `from_state_dict`.

    Returns:
        Parameters as JAX arrays, nested by the dots in the file's names.

    Raises:
        ValueError: If the file is no safetensors file, an entry has a dtype that NumPy has not, or
            as `from_state_dict` does.
        OSError: If the file cannot be read.

    Example:
        See `save_safetensors`.

    Source: `safetensors.torch.load_file`.
    """
    open_regular(path).close()  # safetensors calls a file that may not be read missing
    flat = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                try:
                    flat[name] = file.get_tensor(name)
                except (AttributeError, TypeError) as error:
                    dtype = file.get_slice(name).get_dtype()
                    raise ValueError(
                        f"path: expected dtypes that NumPy has, got {name} ({dtype}) in {path}"
                    ) from error
    except SafetensorError as error:
        raise ValueError(f"path: expected a safetensors file, got {path}: {error}") from error
    return from_state_dict(flat, like)
