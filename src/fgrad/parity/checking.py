"""A JAX port beside a recorded PyTorch run, step by step and stage by stage."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import optax

from fgrad.parity import hazards, starting
from fgrad.parity.causes import find_cause
from fgrad.parity.compare import Tolerance
from fgrad.parity.mapping import Explicit, make_map
from fgrad.parity.names import Names
from fgrad.parity.ports import adapt
from fgrad.parity.recording import DTYPES, Recording, read
from fgrad.parity.results import STAGES, Comparison, Report
from fgrad.parity.running import Check
from fgrad.parity.steps import compare_run
from fgrad.types import Batch, Params

Mode = Literal["restart", "free"]


def check(
    path: str | os.PathLike[str],
    apply: Params,
    loss: Callable[..., jax.Array],
    optimizer: optax.GradientTransformation,
    *,
    params: Params = None,
    state: Params = None,
    mapping: Explicit | None = None,
    names: Mapping[str, str] | None = None,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
    batches: Sequence[tuple[Batch, Batch]] | None = None,
    initial_weights: bool = True,
    mode: Mode = "restart",
    dtypes: Sequence[str] = DTYPES,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Callable[[int, int, str], object] | None = None,
) -> Report:
    """Run a JAX port beside a recording by `record`, and say where they first differ, and why.

    Everything is run in float64 and in float32. What differs in float32 alone is rounding, unless
    it is more than PyTorch's own rounding noise, which the recording has measured; what differs in
    float64 is a mistake. PyTorch is not needed.

    Args:
        path: The recording.
        apply: `apply(params, x) -> output`, pure, jitted or not; or an NNX, Linen or Equinox
            module. Where there is a `state`, `apply(params, state, x) -> (output, new state)`. If
            it has a parameter `masks`, it is given what PyTorch's dropout multiplied with, by the
            name of the module.
        loss: `loss(output, target) -> scalar`.
        optimizer: Any optax transformation.
        params: The port's own initial parameters: a pytree of arrays, or of shapes
            (`jax.eval_shape`); a function of the recorded state_dict that returns them; an NNX or
            Equinox module, where `apply` takes it as its first argument; a Linen module's
            variables. By default nested dicts, as PyTorch's names and layouts have it.
        state: The port's buffers (BatchNorm's running statistics), a pytree. By default, where
            `params` is left out too, nested dicts of the recording's buffers if it has any; `()`
            says that `apply` takes none.
        mapping: What no rule pairs: `{"port's path": "PyTorch's name"}`, or
            `(name, transform)`, or `((name, ...), transform)`, where the transform makes the port's
            array of PyTorch's.
        names: PyTorch's module names, where the port's names of intermediates are others.
        flattened: For a Linear that is fed channels-last data, its name and the shape
            (channels, height, width) that PyTorch flattens, as for `fgrad.interop.to_nnx`.
        batches: The port's own batches, to be compared with the recorded ones, which are used.
        initial_weights: Whether the values in `params` are to be the recording's; if not, they are
            there for their shapes.
        mode: `"restart"`: each step starts from the recorded weights, the loss is taken of the
            recorded output, the update of the recorded gradients, so that a difference stays where
            it arose. `"free"`: the port goes on from its own.
        dtypes: The precisions to run in.
        rtol: A relative tolerance in place of the measured one.
        atol: An absolute one.
        progress: Called as `progress(done, total, what)`.

    Returns:
        The report.

    Raises:
        ValueError: If the file is no whole recording of this version; if parameters cannot be
            paired, or have other shapes; if a named intermediate is no module; if the output has
            another structure or shape; if the loss is no scalar; or for a bad argument.
        OSError: If the file cannot be read.

    Example:
        See `fgrad.parity.record`.

    Source: `torch.testing.assert_close`, whose tolerances are fixed.
    """
    if mode not in ("restart", "free"):
        raise ValueError(f"mode: expected 'restart' or 'free', got {mode!r}")
    if not dtypes or not set(dtypes) <= set(DTYPES):
        raise ValueError(f"dtypes: expected some of {', '.join(DTYPES)}, got {tuple(dtypes)}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not 0 <= value < np.inf:
            raise ValueError(f"{name}: expected a finite number of 0 or more, got {value}")
    if not callable(loss):
        raise ValueError(f"loss: expected a function, got {type(loss).__name__}")
    if not callable(getattr(optimizer, "init", None)):
        raise ValueError(
            f"optimizer: expected an optax transformation, got {type(optimizer).__name__}"
        )
    recording = read(path)
    port = adapt(apply, params, state, recording)
    kinds = {name: module["kind"] for name, module in recording.modules.items()}
    weights = make_map(
        "params",
        port.program.params.leaves,
        {name: recording.initial[name].shape for name in recording.parameters},
        kinds,
        _those(mapping, port.program.params.leaves),
        flattened or {},
    )
    held = port.program.state.leaves if port.program.state else ()
    buffers = make_map(
        "state",
        held,
        {name: recording.initial[name].shape for name in recording.buffers} if held else {},
        kinds,
        _those(mapping, held),
        {},
    )
    _check_paths(mapping, [leaf.path for leaf in (*port.program.params.leaves, *held)])
    checked = Check(
        recording,
        port.program,
        loss,
        optimizer,
        weights,
        buffers,
        Names(recording, weights, names or {}),
        Tolerance(rtol, atol),
        mode == "free",
    )
    comparisons: list[Comparison] = []
    if port.initial is not None and initial_weights:
        comparisons += starting.compare_weights(recording, weights, port.initial)
    if batches is not None:
        comparisons += starting.compare_batches(recording, batches)
    dtypes = [dtype for dtype in DTYPES if dtype in dtypes]
    done, total = 0, sum(len(recording.steps[dtype]) for dtype in dtypes)
    for dtype in dtypes:
        for step, found in enumerate(compare_run(checked, dtype)):
            comparisons += found
            done += 1
            if progress is not None:
                progress(done, total, f"step {step} in {dtype}")
    comparisons = _settled(_ordered(comparisons, recording))
    warnings = [*weights.notes, *buffers.notes, *hazards.warnings(recording, checked, dtypes)]
    config: Any = jax.config  # its type does not name the options, which are its attributes
    report = Report(
        os.fspath(path),
        mode,
        tuple(comparisons),
        None,
        (),
        tuple(warnings),
        {
            "recorded": recording.settings,
            "jax": jax.__version__,
            "optax": optax.__version__,
            "platform": jax.default_backend(),
            "dtypes": tuple(dtypes),
            "matmul precision": str(config.jax_default_matmul_precision),
        },
    )
    if report.first is None:
        return report
    if mode == "free":  # what causes a difference shows where none has piled up
        checked = checked._replace(free=False)
        alone = [c for c in report.comparisons if c.stage in ("initial weights", "batch")]
        alone += [c for dtype in dtypes for found in compare_run(checked, dtype) for c in found]
        comparisons = _settled(_ordered(alone, recording))
    if (first := next((c for c in comparisons if not c.ok), None)) is None:
        return report
    cause, tried = find_cause(checked, first, comparisons, port.initial, batches)
    return report._replace(cause=cause, causes_tried=tried)


def _those(mapping: Explicit | None, leaves: Sequence[Any]) -> Explicit:
    paths = {leaf.path for leaf in leaves}
    return {path: rule for path, rule in (mapping or {}).items() if path in paths}


def _check_paths(mapping: Explicit | None, paths: Sequence[str]) -> None:
    if unknown := [path for path in mapping or {} if path not in paths]:
        raise ValueError(
            f"mapping: expected paths of the port, {', '.join(paths)}, got {unknown[0]!r}"
        )


def _ordered(comparisons: list[Comparison], recording: Recording) -> list[Comparison]:
    """Sort by step, stage, place and precision; gradients from the output back."""
    state = {name: i for i, name in enumerate(recording.initial)}

    def place(comparison: Comparison, arrived: int) -> float:
        if comparison.stage == "gradient":
            return -state[comparison.place]
        if comparison.stage in ("initial weights", "update"):
            return state[comparison.place]
        if comparison.stage == "optimizer state":
            return state[comparison.place.rpartition(".")[0]]
        return arrived

    arrivals: dict[tuple[Any, ...], int] = {}
    for comparison in comparisons:
        key = (comparison.step, comparison.stage, comparison.place)
        arrivals.setdefault(key, len(arrivals))
    return sorted(
        comparisons,
        key=lambda c: (
            c.step,
            STAGES.index(c.stage),
            place(c, arrivals[c.step, c.stage, c.place]),
            c.place,
            DTYPES.index(c.dtype),
        ),
    )


def _settled(comparisons: list[Comparison]) -> list[Comparison]:
    """Let an optimizer keep its buffers otherwise, as long as the updates are the same."""
    last: dict[tuple[str, str], int] = {}
    for each in comparisons:
        if each.stage == "update" and not each.ok:
            last[each.place, each.dtype] = each.step
    settled = []
    for each in comparisons:
        if each.stage == "optimizer state" and not each.ok:
            parameter = each.place.rpartition(".")[0]
            if last.get((parameter, each.dtype), -1) < each.step:
                note = "; ".join(filter(None, [each.note, "kept otherwise, the updates agree"]))
                each = dataclasses.replace(each, ok=True, note=note)
        settled.append(each)
    return settled
