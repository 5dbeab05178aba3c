"""The same weights elsewhere: PyTorch's `state_dict`, safetensors files, Flax NNX modules."""

from fgrad.interop.files import load_safetensors, save_safetensors
from fgrad.interop.flax_nnx import from_nnx, to_nnx
from fgrad.interop.state_dict import from_state_dict, to_state_dict

__all__ = [
    "from_nnx",
    "from_state_dict",
    "load_safetensors",
    "save_safetensors",
    "to_nnx",
    "to_state_dict",
]
