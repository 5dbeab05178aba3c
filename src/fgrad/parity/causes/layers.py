"""What a layer computes with a mistake in it, from its recorded inputs and weights."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.recording import Call, NumPy, Step


class Layer(NamedTuple):
    """One recorded call, and what it was made with.

    Attributes:
        call: The call.
        kind: The module's class.
        config: Its settings.
        entries: Its own weights and buffers, by their last name.
        step: The step, for dropout's masks and the other calls.
    """

    call: Call
    kind: str
    config: Mapping[str, Any]
    entries: Mapping[str, NumPy]
    step: Step

    @property
    def x(self) -> NumPy:
        """Its first input."""
        return self.call.inputs[0]

    @property
    def y(self) -> NumPy:
        """Its first output."""
        return self.call.outputs[0]


Formulas = Callable[[Layer], Iterator[Hypothesis]]
Around: TypeAlias = Any

_EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0.0)
_MANTISSAS = {7: "bfloat16", 10: "TF32 or float16"}


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


def _at(layer: Layer) -> str:
    return layer.call.place


def _bias(layer: Layer) -> Iterator[Hypothesis]:
    """Whatever adds one vector: without it, or with twice."""
    for name, value in layer.entries.items():
        bias = _along_channels(value, layer.y, layer.kind)
        if bias is None or name not in ("bias", "b") or not np.any(value):
            continue
        yield Hypothesis(
            "missing bias",
            f"{_at(layer)} is computed without its {name}",
            f"add {_at(layer)}'s {name} to its result",
            layer.y - bias,
        )
        yield Hypothesis(
            "doubled bias",
            f"{_at(layer)} adds its {name} twice",
            f"add {_at(layer)}'s {name} once: some layer already has it",
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
                    f"{_at(layer)} computes what {call.place} does",
                    f"give {_at(layer)} the weights of {_at(layer)}, and not those of {call.place}",
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


def rounded(value: NumPy, bits: int) -> NumPy:
    """Return numbers rounded to so many bits of mantissa.

    Example:
        >>> rounded(np.float32([1.001]), 7)
        array([1.], dtype=float32)
    """
    mantissa, exponent = np.frexp(value)
    scaled = np.ldexp(mantissa, bits + 1)
    return np.ldexp(np.rint(scaled), exponent - bits - 1).astype(value.dtype)


def _linear(layer: Layer) -> Iterator[Hypothesis]:
    weight, x, place = layer.entries["weight"], layer.x, _at(layer)
    bias = layer.entries.get("bias", np.zeros(1, weight.dtype))
    if weight.shape[0] == weight.shape[1]:
        yield Hypothesis(
            "transposed weight",
            f"{place} computes x @ weight in place of x @ weight.T",
            f"{place}: PyTorch's weight is (out, in): transpose it",
            x @ weight + bias,
        )
    for call in layer.step.calls:
        if call.outputs and (order := _image_order(call.outputs[0], weight.shape[1])) is not None:
            channels = call.outputs[0].shape[1]
            explanation = f"{place} takes the pixels of {call.place} in another order than PyTorch"
            fix = f"flatten {call.place} with channels first, (N, {channels}, height, width)"
            yield Hypothesis("flatten order", explanation, fix, x[..., order] @ weight.T + bias)
            inverse = np.argsort(order)
            yield Hypothesis("flatten order", explanation, fix, x[..., inverse] @ weight.T + bias)
    yield Hypothesis(
        "permuted weight",
        f"{place}'s outputs are in reverse order",
        f"{place}: keep the order of the weight's rows",
        x @ weight[::-1].T + bias,
    )
    yield Hypothesis(
        "permuted weight",
        f"{place}'s inputs are in reverse order",
        f"{place}: keep the order of the weight's columns",
        x @ weight[:, ::-1].T + bias,
    )
    yield from _precision(layer, lambda x, weight: x @ weight.T + bias)


def _image_order(image: NumPy, features: int) -> NumPy | None:
    """Return where a flattened channels-first image's numbers are in a channels-last one."""
    if image.ndim < 4 or math.prod(image.shape[1:]) != features or image.shape[1] == 1:
        return None
    return np.moveaxis(np.arange(features).reshape(image.shape[1:]), 0, -1).ravel()


def _precision(layer: Layer, compute: Callable[[NumPy, NumPy], NumPy]) -> Iterator[Hypothesis]:
    """Yield the products of rounded operands."""
    weight = layer.entries["weight"]
    for bits, kind in _MANTISSAS.items():
        for both in (True, False):
            x = rounded(layer.x, bits) if both else layer.x
            yield Hypothesis(
                "reduced precision",
                f"{_at(layer)} is computed from numbers rounded to {kind}",
                f"{_at(layer)}: ask for full precision, jax.default_matmul_precision('highest'), "
                "and for no cast to fewer bits",
                compute(x, rounded(weight, bits)),
                slack=0.05,
            )


def _conv(layer: Layer) -> Iterator[Hypothesis]:
    weight, x, place = layer.entries["weight"], layer.x, _at(layer)
    config = layer.config
    spatial = weight.ndim - 2
    bias = layer.entries.get("bias", np.zeros(weight.shape[0], weight.dtype))
    bias = bias.reshape(-1, *[1] * spatial)
    padding = config.get("padding", 0)
    if isinstance(padding, str):
        around: Any = padding.upper()
    else:
        around = [(size, size) for size in padding]

    def compute(x: NumPy, weight: NumPy, around: Around = around) -> NumPy:
        with jax.enable_x64(x.dtype == np.float64), jax.default_matmul_precision("highest"):
            y = lax.conv_general_dilated(
                jnp.asarray(x),
                jnp.asarray(weight),
                tuple(config["stride"]),
                around,
                rhs_dilation=tuple(config["dilation"]),
                feature_group_count=config["groups"],
            )
            return np.asarray(y) + bias

    if x.ndim != weight.ndim:
        return
    axes = tuple(range(2, weight.ndim))
    yield Hypothesis(
        "flipped kernel",
        f"{place} is a convolution with its filters turned around; PyTorch's is a correlation",
        f"{place}: do not flip the kernel",
        compute(x, np.flip(weight, axes)),
    )
    swaps = [("channels in and out", 0, 1), ("rows and columns", -2, -1)]
    for what, one, other in swaps[: spatial if spatial < 2 else 2]:
        if weight.shape[one] == weight.shape[other]:
            yield Hypothesis(
                "transposed weight",
                f"{place}'s kernel has its {what} exchanged",
                f"{place}: PyTorch's weight is (out, in, height, width)",
                compute(x, np.swapaxes(weight, one, other)),
            )
    if isinstance(around, list):
        fix = f"{place}: pad with zeros, {[size for size, _ in around]} on either side"
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            widths = [(0, 0), (0, 0), *around]
            explanation = f"{place} pads its input with numpy's mode {mode!r}, and not with zeros"
            if any(low for low, _ in around):
                try:
                    padded = np.pad(x, widths, mode=mode)
                except ValueError:  # more than there is to repeat
                    continue
                yield Hypothesis("padding", explanation, fix, compute(padded, weight, "VALID"))
        yield Hypothesis(
            "padding", f"{place} is padded as 'SAME' pads", fix, compute(x, weight, "SAME")
        )
        yield Hypothesis("padding", f"{place} is not padded", fix, compute(x, weight, "VALID"))
        low = [(2 * a, 0) for a, _ in around]
        high = [(0, 2 * a) for a, _ in around]
        for sides, what in ((low, "before"), (high, "after")):
            explanation = f"{place} is padded {what} its input only"
            yield Hypothesis("padding", explanation, fix, compute(x, weight, sides))
    yield from _precision(layer, compute)


def _norm(
    layer: Layer, x: NumPy, axes: tuple[int, ...], per: tuple[int, ...], centre: bool = True
) -> Iterator[Hypothesis]:
    """Yield a normalisation over `axes` with a mistake; the weights lie along the axes `per`."""
    place, eps = _at(layer), layer.config.get("eps") or 1e-5
    shape = [size if axis in per else 1 for axis, size in enumerate(x.shape)]

    def entry(name: str, otherwise: float) -> NumPy:
        value = layer.entries.get(name)
        return np.full([1] * x.ndim, otherwise, x.dtype) if value is None else value.reshape(shape)

    weight, bias = entry("weight", 1.0), entry("bias", 0.0)
    mean = x.mean(axes, keepdims=True) if centre else np.zeros_like(x[:1])
    centred = x - mean
    count = math.prod(x.shape[axis] for axis in axes)
    variance = (centred**2).mean(axes, keepdims=True)

    def affine(value: NumPy) -> NumPy:
        return (value * weight + bias).reshape(layer.y.shape)

    for other in _EPSILONS:
        if other != eps:
            yield Hypothesis(
                "default epsilon",
                f"{place} has epsilon {other:g}, PyTorch's has {eps:g}",
                f"{place}: pass epsilon={eps:g}",
                affine(centred / np.sqrt(variance + np.asarray(other, x.dtype))),
            )
    root = np.sqrt(variance)
    yield Hypothesis(
        "default epsilon",
        f"{place} adds epsilon to the standard deviation, and not to the variance",
        f"{place}: divide by sqrt(variance + {eps:g})",
        affine(centred / (root + np.asarray(eps, x.dtype))),
    )
    if count > 1:
        unbiased = variance * (count / (count - 1))
        yield Hypothesis(
            "biased variance",
            f"{place} divides by the unbiased variance, over {count} - 1",
            f"{place}: normalise with the biased variance, over {count}",
            affine(centred / np.sqrt(unbiased + np.asarray(eps, x.dtype))),
        )
    yield Hypothesis(
        "missing scale",
        f"{place} does not multiply with its weight",
        f"{place}: multiply with its weight before its bias is added",
        (centred / np.sqrt(variance + np.asarray(eps, x.dtype)) + bias).reshape(layer.y.shape),
    )


def _batch_norm(layer: Layer) -> Iterator[Hypothesis]:
    x, place = layer.x, _at(layer)
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    eps = np.asarray(layer.config["eps"], x.dtype)
    weight = layer.entries.get("weight", np.ones(x.shape[1], x.dtype)).reshape(shape)
    bias = layer.entries.get("bias", np.zeros(x.shape[1], x.dtype)).reshape(shape)

    def normalised(mean: NumPy, variance: NumPy) -> NumPy:
        return (x - mean) / np.sqrt(variance + eps) * weight + bias

    training = layer.config["training"]
    if training or "running_mean" not in layer.entries:
        yield from _norm(layer, x, axes, (1,))
    else:
        mean, variance = (layer.entries[f"running_{n}"].reshape(shape) for n in ("mean", "var"))
        for other in _EPSILONS:
            if other != float(eps):
                value = (x - mean) / np.sqrt(variance + np.asarray(other, x.dtype)) * weight + bias
                yield Hypothesis(
                    "default epsilon",
                    f"{place} has epsilon {other:g}, PyTorch's has {float(eps):g}",
                    f"{place}: pass epsilon={float(eps):g}",
                    value,
                )
    if training and "running_mean" in layer.entries:
        mean, variance = (layer.entries[f"running_{n}"].reshape(shape) for n in ("mean", "var"))
        yield Hypothesis(
            "BatchNorm mode",
            f"{place} uses its running statistics, as in evaluation; PyTorch was in training",
            f"{place}: normalise with the batch's own mean and variance, as in train()",
            normalised(mean, variance),
        )
        after = {
            name.rpartition(".")[2]: value
            for name, value in layer.step.after.items()
            if name.rpartition(".")[0] == layer.call.module
        }
        mean, variance = (after[f"running_{n}"].reshape(shape) for n in ("mean", "var"))
        yield Hypothesis(
            "BatchNorm mode",
            f"{place} uses its new running statistics; PyTorch was in training",
            f"{place}: normalise with the batch's own mean and variance, as in train()",
            normalised(mean, variance),
        )
    elif not training:
        yield Hypothesis(
            "BatchNorm mode",
            f"{place} uses the batch's statistics, as in training; PyTorch was in evaluation",
            f"{place}: normalise with the running mean and variance, as in eval()",
            normalised(x.mean(axes, keepdims=True), x.var(axes, keepdims=True)),
        )


def _layer_norm(layer: Layer) -> Iterator[Hypothesis]:
    count = len(layer.config["normalized_shape"])
    axes = tuple(range(layer.x.ndim - count, layer.x.ndim))
    yield from _norm(layer, layer.x, axes, axes)


def _rms_norm(layer: Layer) -> Iterator[Hypothesis]:
    count = len(layer.config["normalized_shape"])
    axes = tuple(range(layer.x.ndim - count, layer.x.ndim))
    yield from _norm(layer, layer.x, axes, axes, centre=False)


def _erf(x: NumPy) -> NumPy:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


_ACTIVATIONS: dict[str, Callable[[NumPy], NumPy]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "leaky_relu with slope 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
    "leaky_relu with slope 0.2": lambda x: np.where(x > 0, x, 0.2 * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "no function": lambda x: x,
}
_OF_KIND = {
    "ReLU": "relu",
    "GELU": "gelu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
    "Softplus": "softplus",
    "ELU": "elu",
    "LeakyReLU": "",
    "ReLU6": "relu6",
}


def _activation(layer: Layer) -> Iterator[Hypothesis]:
    x, place = layer.x, _at(layer)
    if layer.kind == "GELU":
        wants_tanh = layer.config.get("approximate") == "tanh"
        tanh = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        quick = x / (1 + np.exp(-1.702 * x))
        ours, theirs = ("erf", "tanh") if wants_tanh else ("tanh", "erf")
        for value, what in (
            (_ACTIVATIONS["gelu"](x) if wants_tanh else tanh, ours),
            (quick, "sigmoid"),
        ):
            yield Hypothesis(
                "GELU approximation",
                f"{place} is GELU by {what}, PyTorch's is by {theirs}",
                f"{place}: jax.nn.gelu(x, approximate={wants_tanh})",
                value,
            )
    for name, function in _ACTIVATIONS.items():
        if name != _OF_KIND[layer.kind]:
            with np.errstate(over="ignore"):
                value = function(x).astype(x.dtype)
            missing = name == "no function"
            yield Hypothesis(
                "missing activation" if missing else "other activation",
                f"{place} is {'left out' if missing else name}, PyTorch has {layer.kind}",
                f"{place}: apply {layer.kind} to its input",
                value,
            )


def softmax(x: NumPy, axis: int) -> NumPy:
    """Return the softmax along an axis.

    Example:
        >>> softmax(np.zeros((1, 2)), 1)
        array([[0.5, 0.5]])
    """
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def _softmax(layer: Layer) -> Iterator[Hypothesis]:
    x, place = layer.x, _at(layer)
    axis = layer.config.get("dim")
    axis = (1 if x.ndim in (2, 4) else 0) if axis is None else axis % x.ndim
    log = layer.kind == "LogSoftmax"
    for other in range(x.ndim):
        if other != axis:
            value = softmax(x, other)
            yield Hypothesis(
                "softmax axis",
                f"{place} is over axis {other}, PyTorch's is over axis {axis}",
                f"{place}: axis={axis}",
                np.log(value) if log else value,
            )
    # Scores whose size is an attention's head: scaled by its root, or by it, or not at all.
    for size in (2, 4, 8, 16, 32, 64, 128, 256, 3, 6, 12, 24, 48, 96, 192):
        for factor in (size**0.5, size**-0.5, float(size), 1 / size):
            value = softmax(x * np.asarray(factor, x.dtype), axis)
            yield Hypothesis(
                "attention scale",
                f"{place}'s scores are {factor:.6g} times PyTorch's",
                f"{place}: multiply its scores by {1 / factor:.6g}",
                np.log(value) if log else value,
            )
    for factor in (10.0, 0.1):
        yield Hypothesis(
            "attention scale",
            f"{place}'s scores are {factor:g} times PyTorch's",
            f"{place}: multiply its scores by {1 / factor:g}",
            softmax(x * np.asarray(factor, x.dtype), axis),
        )


def _dropout(layer: Layer) -> Iterator[Hypothesis]:
    x, place, p = layer.x, _at(layer), layer.config["p"]
    mask = layer.step.masks.get(place)
    if mask is None:
        if 0 < p < 1:
            yield Hypothesis(
                "dropout mode",
                f"{place} scales its input by 1 / (1 - {p:g}), PyTorch was in evaluation",
                f"{place}: pass its input on, as in eval()",
                x / np.asarray(1 - p, x.dtype),
            )
        return
    for value, what, fix in (
        (x, "passes its input on, as in evaluation", "multiply with its mask, as in train()"),
        (x * (mask != 0), "does not scale what it keeps", f"divide what is kept by 1 - {p:g}"),
        (x * (mask == 0) / (p or 1), "keeps what PyTorch drops", "use the recorded mask as it is"),
        (x * np.asarray(1 - p, x.dtype), "scales by 1 - p", "multiply with its mask"),
    ):
        yield Hypothesis("dropout mode", f"{place} {what}", f"{place}: {fix}", value)


def _pool(layer: Layer) -> Iterator[Hypothesis]:
    x, place, config = layer.x, _at(layer), layer.config
    if x.ndim != 4 or "kernel_size" not in config:
        return
    size, stride, padding = (_pair(config.get(key)) for key in ("kernel_size", "stride", "padding"))
    stride = stride or size
    window, strides = (1, 1, *size), (1, 1, *(stride or size))
    around = [(0, 0), (0, 0), *[(p, p) for p in (padding or (0, 0))]]
    is_max = layer.kind.startswith("Max")
    with jax.enable_x64(x.dtype == np.float64):
        array = jnp.asarray(x)
        largest = lax.reduce_window(array, -jnp.inf, lax.max, window, strides, around)
        total = lax.reduce_window(array, 0.0, lax.add, window, strides, around)
        inside = lax.reduce_window(jnp.ones_like(array), 0.0, lax.add, window, strides, around)
        largest, total, inside = map(np.asarray, (largest, total, inside))
    if is_max:
        found = [(total / math.prod(size), "the mean of every window"), (total, "the sum")]
    else:
        found = [(largest, "the maximum of every window"), (total, "the sum of every window")]
        including = config.get("count_include_pad", True)
        other = total / inside if including else total / math.prod(size)
        found.append((other, "the mean with padding counted otherwise"))
    for value, what in found:
        yield Hypothesis(
            "pooling",
            f"{place} takes {what}, PyTorch has {layer.kind}",
            f"{place}: take what {layer.kind} takes",
            value,
        )


def _pair(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value, value)


_BY_KIND: dict[str, Formulas] = {
    "Linear": _linear,
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _conv),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), _batch_norm),
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    **dict.fromkeys(_OF_KIND, _activation),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "Dropout": _dropout,
    **dict.fromkeys(("MaxPool2d", "AvgPool2d"), _pool),
}
