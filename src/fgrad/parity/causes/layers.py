"""What people get wrong in a layer."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fgrad.parity.causes import formulas
from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.causes.formulas import ACTIVATIONS, Arguments, Formula, Setting
from fgrad.parity.causes.mistakes import Changes, Table, hypotheses
from fgrad.parity.causes.rearranged import flattened, images, rearrangements, rounded
from fgrad.parity.recording import Call, NumPy, Step

EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0.0)
# Attention divides its scores by the root of a head's size, which only the model knows. Left out,
# there twice, the size itself: the scores are off by its root or by it, up or down.
_HEADS = (2, 4, 8, 16, 32, 64, 128, 256, 3, 6, 12, 24, 48, 96, 192)
_SCALES = [scale for n in _HEADS for scale in (n**0.5, n**-0.5, float(n), 1 / n)]


def _in_bits(bits: int) -> Changes:
    """Round the weight, and what it is multiplied with or not."""
    return {
        "weight": [lambda torch: rounded(torch.weight, bits)],
        "x": [lambda torch: rounded(torch.x, bits), lambda torch: torch.x],
    }


def _on_one_side(before: int, after: int) -> Changes:
    """Pad as much in all, on one side of each axis; what has a name stays."""

    def padding(torch: Setting) -> Setting:
        sizes = torch.padding
        return sizes if isinstance(sizes, str) else [(before * n, after * n) for n in sizes]

    return {"padding": [padding]}


_PRECISION: Table = {
    (
        "reduced precision",
        "ask for jax.default_matmul_precision('highest'), and for no cast to fewer bits",
    ): {
        "is computed from numbers rounded to bfloat16": _in_bits(7),
        "is computed from numbers rounded to TF32 or float16": _in_bits(10),
    }
}
_PADDING: Table = {
    ("padding", "pad its input with {torch.padding_mode}, {torch.padding}"): {
        "repeats its input's edges": {"padding_mode": ["replicate"]},
        "reflects its input at the edges": {"padding_mode": ["reflect"]},
        "reflects its input, the edges included": {"padding_mode": ["symmetric"]},
        "continues its input from the other side": {"padding_mode": ["circular"]},
        "is padded as 'SAME' pads": {"padding": ["same"]},
        "is not padded": {"padding": ["valid"]},
        "is padded before its input only": _on_one_side(2, 0),
        "is padded after its input only": _on_one_side(0, 2),
    }
}
_NORM: Table = {
    ("default epsilon", "pass epsilon={torch.eps}"): {
        "has epsilon {port.eps:g}, PyTorch's has {torch.eps}": {"eps": EPSILONS},
        "adds epsilon to the standard deviation, not to the variance": {"eps_outside": [True]},
    },
    ("biased variance", "normalise with the biased variance, over n"): {
        "divides by the unbiased variance, over n - 1": {"unbiased": [True]}
    },
    ("missing scale", "multiply with its weight before its bias is added"): {
        "does not multiply with its weight": {"weight": [1.0]}
    },
    (
        "BatchNorm mode",
        "take the mean and variance that PyTorch takes in training={torch.training}",
    ): {
        "uses its running statistics, as in evaluation": {"training": [False]},
        "uses the batch's statistics, as in training": {"training": [True]},
        "uses its new running statistics": {
            "training": [False],
            "running_mean": [lambda torch: torch.after["running_mean"]],
            "running_var": [lambda torch: torch.after["running_var"]],
        },
    },
}
_ACTIVATION: Table = {
    ("GELU approximation", "jax.nn.gelu(x, approximate={torch.by_tanh})"): {
        "is GELU by tanh, PyTorch's is by erf": {"approximate": ["tanh"]},
        "is GELU by erf, PyTorch's is by tanh": {"approximate": ["none"]},
        "is GELU by sigmoid": {"approximate": ["sigmoid"]},
    },
    ("missing activation", "apply {torch.kind}"): {"is left out": {"kind": ["Identity"]}},
    ("other activation", "apply {torch.kind}"): {
        "is {port.kind}, PyTorch has {torch.kind}": {"kind": [*ACTIVATIONS]}
    },
}
_SOFTMAX: Table = {
    ("softmax axis", "axis={torch.dim}"): {
        "is over axis {port.dim}, PyTorch's over {torch.dim}": {"dim": range(4)}
    },
    ("attention scale", "divide its scores by {port.scale:.6g}"): {
        "has scores that are {port.scale:.6g} times PyTorch's": {"scale": [*_SCALES, 10.0, 0.1]}
    },
}
_DROPOUT: Table = {
    ("dropout mode", "multiply with its mask in train(), pass its input on in eval()"): {
        "passes its input on, as in evaluation": {"mask": [1.0]},
        "does not scale what it keeps": {"mask": [lambda torch: torch.mask != 0]},
        "keeps what PyTorch drops": {"mask": [lambda torch: (torch.mask == 0) / (torch.p or 1)]},
        "scales by 1 - {torch.p:g}": {"mask": [lambda torch: 1 - torch.p]},
        "scales by 1 / (1 - {torch.p:g})": {"mask": [lambda torch: 1 / max(1 - torch.p, 1e-9)]},
    }
}
_POOL: Table = {
    ("pooling", "take what {torch.kind} takes"): {
        "takes the mean of every window": {"kind": ["AvgPool2d"]},
        "takes the maximum of every window": {"kind": ["MaxPool2d"]},
        "takes the sum of every window": {"kind": ["sum"]},
        "counts padding otherwise": {"count_include_pad": [False, True]},
    }
}
_BIAS: Table = {
    ("missing bias", "add its bias"): {"is computed without its bias": {"times": [0]}},
    ("doubled bias", "add its bias once: some layer already has it"): {
        "adds its bias twice": {"times": [2]}
    },
}
_KINDS: dict[str, tuple[Formula, Table]] = {
    "Linear": (formulas.linear, _PRECISION),
    **{f"Conv{n}d": (formulas.conv, {**_PADDING, **_PRECISION}) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": (formulas.norm, _NORM) for n in (1, 2, 3)},
    **dict.fromkeys(("LayerNorm", "RMSNorm"), (formulas.norm, _NORM)),
    **dict.fromkeys((*ACTIVATIONS, "LeakyReLU"), (formulas.activation, _ACTIVATION)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), (formulas.softmax, _SOFTMAX)),
    "Dropout": (formulas.dropout, _DROPOUT),
    **dict.fromkeys(("MaxPool2d", "AvgPool2d"), (formulas.pool, _POOL)),
}


def of_call(call: Call, module: Mapping[str, Any], step: Step) -> Iterator[Hypothesis]:
    """Yield what people get wrong in a layer.

    Args:
        call: The layer's call.
        module: Its `kind` and `config`, as a recording has them.
        step: The step, for the layer's arrays, dropout's masks and the other calls.

    Yields:
        Each mistake, with what the layer then computes.
    """
    kind, config, y = module["kind"], module["config"], call.outputs[0]
    entries = _entries(step.before, call.module)
    tables: list[tuple[Formula, Table, Arguments]] = []
    if call.inputs and kind in _KINDS:
        formula, table = _KINDS[kind]
        right = {
            **{name: tuple(v) if isinstance(v, list) else v for name, v in config.items()},
            **entries,
            **{"x": call.inputs[0], "kind": kind, "by_tanh": config.get("approximate") == "tanh"},
            "mask": step.masks.get(call.place, np.float64(1)),
            "after": _entries(step.after, call.module),
            # What no module of PyTorch's has, but ports do.
            **{"unbiased": False, "eps_outside": False, "scale": 1.0},
        }
        tables.append((formula, {**_of_weight(right, step), **table}, right))
    if (bias := _bias(entries, y, kind)) is not None:
        tables.append((formulas.shifted, _BIAS, {"y": y, "bias": bias, "times": 1}))
    for formula, table, right in tables:
        for each in hypotheses(formula, table, right):
            explanation, fix = f"{call.place} {each.explanation}", f"{call.place}: {each.fix}"
            yield each._replace(explanation=explanation, fix=fix)
    if entries:
        yield from _exchanged(call, step)


def _entries(state: Mapping[str, NumPy], module: str) -> dict[str, NumPy]:
    names = {name: name.rpartition(".") for name in state}
    return {last: state[name] for name, (owner, _, last) in names.items() if owner == module}


def _of_weight(right: Arguments, step: Step) -> Table:
    """Return the ways to take the weight of a linear layer or of a convolution."""
    table: dict[tuple[str, str], dict[str, Changes]] = {}
    if right["kind"] == "Linear":
        for image, shape in images(step, right["weight"].shape[1]).items():
            fix = f"flatten {image} with channels first, (N, {shape[0]}, height, width)"
            what = f"takes the pixels of {image} in another order than PyTorch"
            table["flatten order", fix] = {what: {"weight": flattened(right["weight"], shape)}}
    if right["kind"].startswith(("Linear", "Conv")):
        for name, what, other in rearrangements(right["weight"]):
            fix = "use its weight as PyTorch does: (out, in, ...), so that y = x @ weight.T"
            table.setdefault((name, fix), {})[f"uses its weight {what}"] = {"weight": [other]}
    return table


def _bias(entries: Mapping[str, NumPy], y: NumPy, kind: str) -> NumPy | None:
    """Return a layer's bias as an array that can be added to its output, or None if it cannot."""
    bias = entries.get("bias", entries.get("b"))
    # (3,) is added to (N, 3, H, W) as (3, 1, 1), and to (N, 3) as it is.
    if bias is None or bias.size == 1:
        return bias
    of_channels = kind.startswith(("Conv", "BatchNorm", "GroupNorm", "InstanceNorm"))
    axis = 1 if y.ndim >= 3 and of_channels else y.ndim - 1
    fits = bias.ndim == 1 and y.shape[axis] == bias.size
    return bias.reshape(-1, *[1] * (y.ndim - 1 - axis)) if fits else None


def _exchanged(ours: Call, step: Step) -> Iterator[Hypothesis]:
    """Yield the outputs of other modules that were given the same."""
    for other in step.calls:
        same = len(other.inputs) == len(ours.inputs) and all(
            map(np.array_equal, other.inputs, ours.inputs)
        )
        if same and other.module != ours.module and other.outputs:
            yield Hypothesis(
                "swapped weights",
                f"{ours.place} computes what {other.place} does",
                f"give {ours.place} its own weights, and not those of {other.place}",
                other.outputs[0],
            )
