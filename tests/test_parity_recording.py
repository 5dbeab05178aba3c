"""Recordings as files: what is refused, and what is warned about."""

import copy
import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import parity_ports as ports
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fgrad.parity import hazards, recording
from fgrad.parity.contents import contents

WHOLE = ports.LINE.read_bytes()


def test_what_a_recording_has() -> None:
    run = recording.read(ports.NET)
    assert run.settings["torch"]
    assert run.modules["bn"]["kind"] == "BatchNorm2d"
    assert run.modules["ln"]["config"]["eps"] == 1e-5
    assert run.optimizer["groups"][0]["options"]["weight_decay"] == 0.1
    assert run.buffers == ("bn.running_mean", "bn.running_var")
    for dtype, steps in run.steps.items():
        assert [step.batch for step in steps] == [0, 1, 0]
        for before, after in itertools.pairwise(steps):
            for name, value in before.after.items():
                np.testing.assert_array_equal(after.before[name], value)
        for step in steps:
            places = [call.place for call in step.calls]
            assert places == [*list(run.modules)[1:], "output"]
            assert {str(value.dtype) for value in step.gradients.values()} == {dtype}
            assert set(step.buffers["conv.weight"]) >= {"exp_avg", "exp_avg_sq"}
            mask = step.masks["drop"]
            assert set(np.unique(mask)) == {0.0, np.dtype(dtype).type(1 / 0.75)}
            (drop,) = (call for call in step.calls if call.place == "drop")
            np.testing.assert_array_equal(drop.outputs[0], drop.inputs[0] * mask)
    # The float64 run starts from the same weights, and is no copy of the float32 run.
    first, other = (run.steps[dtype][0] for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(first.before["fc1.weight"], other.before["fc1.weight"])
    gap = np.abs(first.gradients["fc1.weight"] - other.gradients["fc1.weight"]).max()
    assert 0 < gap <= first.noise["gradient/fc1.weight"] < 1e-6


@given(cut=st.integers(0, len(WHOLE) - 1))
def test_truncated(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "file"
    path.write_bytes(WHOLE[:cut])
    with pytest.raises(ValueError, match=r"path: expected a (whole )?recording"):
        recording.read(path)


@given(at=st.integers(0, len(WHOLE) - 1), flip=st.integers(1, 255))
def test_altered(at: int, flip: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any byte: in the header, the metadata, or an array."""
    path = tmp_path_factory.mktemp("altered") / "file"
    data = bytearray(WHOLE)
    data[at] ^= flip
    path.write_bytes(data)
    with pytest.raises(ValueError, match="path: expected a"):
        recording.read(path)


def test_another_version(tmp_path: Path) -> None:
    path = rewritten(tmp_path, version=2)
    with pytest.raises(ValueError, match=r"expected a recording of version 1, .* has 2"):
        recording.read(path)


def test_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": np.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"expected a recording by fgrad.parity.record, got .*"):
        recording.read(path)
    with pytest.raises(FileNotFoundError):
        recording.read(tmp_path / "none")


def rewritten(folder: Path, **facts: Any) -> Path:
    """Write the recording once more with other facts."""
    with safe_open(ports.LINE, framework="np") as file:
        metadata = file.metadata()
    metadata["fgrad.parity"] = json.dumps(json.loads(metadata["fgrad.parity"]) | facts)
    save_file(load_file(ports.LINE), folder / "other", metadata)
    return folder / "other"


def warned(**changes: Any) -> list[str]:
    """Return the warnings of the recorded line with other fields."""
    run = recording.read(ports.LINE)._replace(**changes)
    return hazards.warnings(run, SimpleNamespace(buffers=SimpleNamespace(shapes={})), ["float64"])


def steps(**changes: Any) -> dict[str, Any]:
    """Return the recorded steps with other fields."""
    recorded = recording.read(ports.LINE).steps
    return {
        "steps": {
            dtype: tuple(step._replace(**changes) for step in run)
            for dtype, run in recorded.items()
        }
    }


def test_what_hides_a_mistake_is_warned_about() -> None:
    weight, bias = np.random.default_rng(0).normal(size=(3, 3)), np.arange(3.0)
    assert warned() == []
    symmetric = warned(**steps(before={"weight": weight + weight.T, "bias": bias}))
    assert symmetric == ["weight is symmetric: a transposed weight would not show"]
    zero = warned(**steps(before={"weight": weight, "bias": np.zeros(3)}))
    assert zero == ["bias has one value throughout: another order would not show"]
    still = warned(**steps(gradients={"weight": weight, "bias": np.zeros(3)}))
    assert still == ["bias has a gradient of zero: a wrong one could be zero as well"]
    x, y = np.ones((4, 3)), np.arange(12.0).reshape(4, 3)
    assert warned(batches=((x, y),)) == [
        "batch 0: x has one value throughout: another order would not show"
    ]
    assert warned(batches=((y[:1], y),)) == [
        "batch 0: x is one sample: a sum in place of a mean would not show"
    ]
    same = np.stack([weight + weight.T] * 2)
    assert warned(batches=((same, y),)) == [
        "batch 0: x has the same sample throughout: another order would not show",
        "batch 0: x is symmetric: swapped axes would not show",
    ]
    one = {dtype: run[:1] for dtype, run in recording.read(ports.LINE).steps.items()}
    assert warned(steps=one) == [
        "one step: a wrong momentum or another order of batches would not show"
    ]


def facts() -> dict[str, Any]:
    """Return what the recorded line says besides its arrays."""
    with safe_open(ports.LINE, framework="np") as file:
        found: dict[str, Any] = json.loads(file.metadata()["fgrad.parity"])
    return found


def resigned(path: Path, changed: dict[str, Any]) -> Path:
    """Write the recording with other facts, signed as a whole one is."""
    arrays = recording.Arrays()
    arrays.kept = load_file(ports.LINE)
    arrays.same = changed.get("same", {})
    recording.write(path, arrays, changed)
    return path


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of everything in a JSON value."""
    if not isinstance(value, dict | list):
        return []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [place for key, item in items for place in ((*at, key), *places(item, (*at, key)))]


def test_facts_missing_or_of_another_type_are_refused(tmp_path: Path) -> None:
    """Whatever is left out or put in a fact's place: one line, or a recording that can be shown."""
    refused = 0
    whole = facts()
    assert contents(recording.read(resigned(tmp_path / "whole", whole)))
    names = {"same", "version"}  # an array's other name; and what says which of these rules hold
    for at in places(whole):
        if at[0] in names or (at[0] == "steps" and at[1:2] not in ((), (0,))):
            continue  # the other steps are as the first
        for other in (None, 7, "x", [], {}):
            changed = copy.deepcopy(whole)
            within = changed
            for key in at[:-1]:
                within = within[key]
            if other is None:
                del within[at[-1]]
            else:
                within[at[-1]] = other
            path = resigned(tmp_path / "other", changed)
            if line := refusal(path):
                assert line.startswith("path: expected a recording's facts, got others in ")
                assert "\n" not in line
                refused += 1
    assert refused > 100


def refusal(path: Path) -> str:
    """Return why a recording is refused, and nothing for one that can be shown."""
    try:
        contents(recording.read(path))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {"kind": "SGD"}}, "ValueError: optimizer.groups is missing"),
        ({"modules": {}}, "ValueError: modules lacks "),
        ({"steps": []}, "ValueError: there is no step"),
        ({"parameters": ["weight", "gain"]}, "ValueError: state lacks gain"),
        ({"state": ["weight", "bias", "gain"]}, "KeyError: 'initial/gain'"),
    ],
    ids=["missing", "module", "no-step", "parameter", "array"],
)
def test_what_is_wrong_with_the_facts_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = resigned(tmp_path / "other", facts() | change)
    with pytest.raises(ValueError, match=r"^path: expected a recording's facts, ") as error:
        recording.read(path)
    assert f": {message}" in str(error.value)


def test_a_fifo_is_no_recording(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="expected a regular file"):
        recording.read(tmp_path / "fifo")
