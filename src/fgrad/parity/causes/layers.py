"""What a layer computes with a mistake in it, from its recorded inputs and weights."""

from collections.abc import Iterator

import numpy as np

from fgrad.parity.causes.activations import OF_KIND, activation, dropout, pool, softmax_layer
from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.causes.layer import Formulas, Layer
from fgrad.parity.causes.norms import batch_norm, layer_norm, rms_norm
from fgrad.parity.causes.products import conv, linear
from fgrad.parity.recording import NumPy


def formulas(layer: Layer) -> Iterator[Hypothesis]:
    """Yield what people get wrong in a layer of this kind.

    Args:
        layer: The layer.

    Yields:
        Each mistake, with what the layer then computes.
    """
    if layer.call.inputs and layer.kind in _BY_KIND:
        yield from _BY_KIND[layer.kind](layer)
    yield from _bias(layer)
    yield from _permuted(layer)


def _bias(layer: Layer) -> Iterator[Hypothesis]:
    """Whatever adds one vector: without it, or with twice."""
    for name, value in layer.entries.items():
        bias = _along_channels(value, layer.y, layer.kind)
        if bias is None or name not in ("bias", "b") or not np.any(value):
            continue
        yield Hypothesis(
            "missing bias",
            f"{layer.call.place} is computed without its {name}",
            f"add {layer.call.place}'s {name} to its result",
            layer.y - bias,
        )
        yield Hypothesis(
            "doubled bias",
            f"{layer.call.place} adds its {name} twice",
            f"add {layer.call.place}'s {name} once: some layer already has it",
            layer.y + bias,
        )


def _permuted(layer: Layer) -> Iterator[Hypothesis]:
    """Yield the outputs of another module of the same kind."""
    for call in layer.step.calls:
        same = call.module != layer.call.module and call.outputs
        if layer.entries and same and call.outputs[0].shape == layer.y.shape:
            if [a.shape for a in call.inputs] != [a.shape for a in layer.call.inputs]:
                continue
            if all(
                np.array_equal(a, b) for a, b in zip(call.inputs, layer.call.inputs, strict=True)
            ):
                yield Hypothesis(
                    "swapped weights",
                    f"{layer.call.place} computes what {call.place} does",
                    f"give {layer.call.place} its own weights, and not those of {call.place}",
                    call.outputs[0],
                )


def _along_channels(value: NumPy, y: NumPy, kind: str) -> NumPy | None:
    """Return a vector as an array that can be added to `y`, or None if it cannot."""
    if value.size == 1:
        return np.broadcast_to(value.reshape(()), y.shape)
    if value.ndim != 1:
        return None
    if y.ndim >= 3 and kind.startswith(("Conv", "BatchNorm", "GroupNorm", "InstanceNorm")):
        axis = 1
    else:
        axis = y.ndim - 1
    if y.shape[axis] != value.size:
        return None
    shape = [1] * y.ndim
    shape[axis] = value.size
    return np.broadcast_to(value.reshape(shape), y.shape)


_BY_KIND: dict[str, Formulas] = {
    "Linear": linear,
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), conv),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), batch_norm),
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    **dict.fromkeys(OF_KIND, activation),
    **dict.fromkeys(("Softmax", "LogSoftmax"), softmax_layer),
    "Dropout": dropout,
    **dict.fromkeys(("MaxPool2d", "AvgPool2d"), pool),
}
