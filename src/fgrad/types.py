"""The names that every signature shares."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = jax.Array | np.ndarray[Any, Any]

Params: TypeAlias = Any
"""A pytree of arrays; in fgrad's models, nested dicts whose dotted paths are `state_dict` names."""

Batch: TypeAlias = Any
"""A pytree of arrays: what a loss function reads besides the parameters."""

Metrics: TypeAlias = Mapping[str, Any]
"""What one step reports, by name: `loss`, and `grads` and `params` where asked for."""

ApplyFn: TypeAlias = Callable[[Params, Any], Array]
LossFn: TypeAlias = Callable[[Params, Batch], Array]
LossAndMetricsFn: TypeAlias = Callable[[Params, Batch], tuple[Array, Metrics]]
