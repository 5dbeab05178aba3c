"""The file that a recording is: arrays by name in safetensors, the rest as JSON in its metadata."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fgrad.files import open_regular, write_whole
from fgrad.parity.facts import check
from fgrad.parity.trees import Spec, unflatten

NumPy: TypeAlias = np.ndarray[Any, Any]
VERSION = 1
DTYPES = ("float64", "float32")
_KEY = "fgrad.parity"


class Call(NamedTuple):
    """One call of a module.

    Attributes:
        place: The module's dotted name, `"output"` for the model itself; from its second call in
            a step on with `#1`, `#2`, ...
        module: The module's dotted name alone.
        inputs: The tensors that it was given.
        outputs: Those that it returned.
        noise: For each output, how far rounding moved it in PyTorch.
    """

    place: str
    module: str
    inputs: tuple[NumPy, ...]
    outputs: tuple[NumPy, ...]
    noise: tuple[float, ...]


class Step(NamedTuple):
    """One training step in one precision.

    Attributes:
        batch: Which of the batches it took.
        calls: Every module's call, in the order in which they returned.
        output: The model's output, in its own structure.
        loss: A scalar.
        gradients: By parameter.
        buffers: The optimizer's buffers after the step, by parameter, then by PyTorch's name.
        before: The weights, and the model's buffers, before the step.
        after: Those after it.
        masks: What dropout multiplied with, by the place of the call.
        noise: How far rounding moved a value in PyTorch, by its name in the file.
        drift: How far it moved it in a run that went on from its own rounding errors.
    """

    batch: int
    calls: tuple[Call, ...]
    output: Any
    loss: NumPy
    gradients: dict[str, NumPy]
    buffers: dict[str, dict[str, NumPy]]
    before: dict[str, NumPy]
    after: dict[str, NumPy]
    masks: dict[str, NumPy]
    noise: dict[str, float]
    drift: dict[str, float]


class Recording(NamedTuple):
    """A PyTorch training run.

    Attributes:
        path: The file.
        initial: The state_dict before the first step.
        batches: Pairs of inputs and target, each in its own structure.
        steps: By `"float64"` and `"float32"`, the steps; both start from `initial`, and each goes
            on from its own weights.
        parameters: The names of what is trained; the other names of `initial` are buffers.
        frozen: Those of them that take no gradient.
        tied: Further names of parameters, each with the name among `parameters`.
        modules: By dotted name, each module's class (`kind`) and its settings (`config`).
        loss: The loss's `kind` and `config`.
        optimizer: The optimizer's `kind`, and `groups` of parameters' `names` and `options`.
        settings: Versions and settings of the run.
    """

    path: str
    initial: dict[str, NumPy]
    batches: tuple[tuple[Any, Any], ...]
    steps: dict[str, tuple[Step, ...]]
    parameters: tuple[str, ...]
    frozen: tuple[str, ...]
    tied: dict[str, str]
    modules: dict[str, dict[str, Any]]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    settings: dict[str, Any]

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the model's floating-point buffers."""
        trained = {*self.parameters, *self.tied}
        return tuple(
            name
            for name, value in self.initial.items()
            if name not in trained and value.dtype.kind == "f"
        )


class Arrays:
    """Arrays by name, each content kept once."""

    def __init__(self) -> None:
        """Start with none."""
        self.kept: dict[str, NumPy] = {}
        self.same: dict[str, str] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, name: str, array: NumPy) -> None:
        """Keep an array, or remember which earlier one it equals."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        content = (str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).digest())
        if content in self._known:
            self.same[name] = self._known[content]
        else:
            self._known[content] = name
            self.kept[name] = array


def numbered(name: str, counts: dict[str, int]) -> str:
    """Return `name`, with `#1`, `#2`, ... from its second time on, counting in `counts`.

    Example:
        >>> counts = {}
        >>> [numbered("fc", counts) for _ in range(3)]
        ['fc', 'fc#1', 'fc#2']
    """
    counts[name] = counts.get(name, -1) + 1
    return f"{name}#{counts[name]}" if counts[name] else name


def write(path: str | os.PathLike[str], arrays: Arrays, facts: Mapping[str, Any]) -> None:
    """Write a recording, whole or not at all.

    Args:
        path: The file.
        arrays: What `read` finds by name.
        facts: Everything else, as JSON has it.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If an array has a dtype that the file format has not.

    Example:
        See `fgrad.parity.record`.
    """
    text = json.dumps({"version": VERSION, "same": arrays.same, **facts})
    metadata = {_KEY: text, "sha256": _digest(text, arrays.kept)}
    try:
        data = save(arrays.kept, metadata)
    except SafetensorError as error:
        raise ValueError(f"model: expected dtypes of safetensors files: {error}") from error
    write_whole(path, data)


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a recording, and make sure that it is as it was written.

    Args:
        path: The file.

    Returns:
        The recording.

    Raises:
        ValueError: If the file is no recording, is truncated or altered, of another version, or its
            facts are not a recording's.
        OSError: If it cannot be read.

    Example:
        See `fgrad.parity.record`.
    """
    name = os.fspath(path)
    open_regular(name).close()  # safetensors calls a file that may not be read missing
    try:
        with safe_open(name, framework="np") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise ValueError(f"path: expected a recording by fgrad.parity.record, got {name}")
            names = list(file.keys())
            kept = {key: file.get_tensor(key) for key in names}
    except SafetensorError as error:
        raise ValueError(f"path: expected a whole recording, got {name}: {error}") from error
    text = metadata[_KEY]
    try:
        facts = json.loads(text)
        version = facts["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"path: expected a recording's metadata, {name} was altered") from None
    if version != VERSION:
        raise ValueError(f"path: expected a recording of version {VERSION}, {name} has {version}")
    if metadata.get("sha256") != _digest(text, kept):
        raise ValueError(f"path: expected a recording as it was written, {name} was altered")
    try:
        check(facts)
        arrays = kept | {key: kept[other] for key, other in facts["same"].items()}
        return _assemble(name, arrays, facts)
    except Exception as error:  # of any kind: nothing says which arrays the facts must name
        raise ValueError(
            f"path: expected a recording's facts, got others in {name}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _digest(text: str, arrays: Mapping[str, NumPy]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _assemble(path: str, arrays: Mapping[str, NumPy], facts: Mapping[str, Any]) -> Recording:
    initial = {name: arrays[f"initial/{name}"] for name in facts["state"]}
    batches = []
    for i, specs in enumerate(facts["batches"]):
        x, target = (
            unflatten(iter([arrays[f"batch/{i}/{part}/{j}"] for j in range(n)]), spec)
            for part, (n, spec) in zip(("x", "target"), specs, strict=True)
        )
        batches.append((x, target))
    steps: dict[str, list[Step]] = {}
    for dtype in DTYPES:
        before = {
            name: value.astype(dtype) if value.dtype.kind == "f" else value
            for name, value in initial.items()
        }
        steps[dtype] = []
        for i, step in enumerate(facts["steps"]):
            steps[dtype].append(_step(f"{dtype}/{i}", arrays, facts, step, before))
            before = steps[dtype][-1].after
    return Recording(
        path,
        initial,
        tuple(batches),
        {dtype: tuple(run) for dtype, run in steps.items()},
        tuple(facts["parameters"]),
        tuple(facts["frozen"]),
        facts["tied"],
        facts["modules"],
        facts["loss"],
        facts["optimizer"],
        facts["settings"],
    )


def _step(
    at: str,
    arrays: Mapping[str, NumPy],
    facts: Mapping[str, Any],
    step: Mapping[str, Any],
    before: dict[str, NumPy],
) -> Step:
    dtype = at.split("/")[0]
    noise, drift = _measured(step["noise"], dtype), _measured(step["drift"], dtype)
    calls = tuple(
        Call(
            call["place"],
            call["module"],
            tuple(arrays[f"{at}/forward/{i}/input/{j}"] for j in range(call["inputs"])),
            tuple(arrays[f"{at}/forward/{i}/output/{j}"] for j in range(call["outputs"])),
            tuple(noise[f"forward/{i}/output/{j}"] for j in range(call["outputs"])),
        )
        for i, call in enumerate(step["calls"])
    )
    output: Spec = unflatten(iter(calls[-1].outputs), step["output"])
    return Step(
        step["batch"],
        calls,
        output,
        arrays[f"{at}/loss"],
        {name: arrays[f"{at}/gradient/{name}"] for name in facts["parameters"]},
        {
            name: {key: arrays[f"{at}/optimizer/{name}/{key}"] for key in keys}
            for name, keys in step["buffers"].items()
        },
        before,
        {name: arrays[f"{at}/after/{name}"] for name in facts["state"]},
        {
            mask["place"]: (arrays[f"mask/{at.split('/')[1]}/{i}"] / (1 - mask["p"])).astype(dtype)
            for i, mask in enumerate(step["masks"])
        },
        noise,
        drift,
    )


def _measured(noise: Mapping[str, Mapping[str, float]], dtype: str) -> dict[str, float]:
    """Return the noise in one precision: in float64 at least float32's, scaled."""
    least = 2.0**-29 if dtype == "float64" else 1.0
    return {
        name: max(value, least * noise["float32"][name]) for name, value in noise[dtype].items()
    }
