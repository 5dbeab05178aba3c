"""The notes' CNN programs: PyTorch's recorded numbers from the seed alone, and bad usage."""

import json
from pathlib import Path
from typing import Any

import cnn_runs
import numpy as np
import pytest
from programs import assert_refused, lines, run

RECORD = json.loads((Path(__file__).parent / "references" / "cnn.json").read_text())


@pytest.mark.parametrize(
    "recorded",
    RECORD["runs"],
    ids=lambda r: f"{r['net']} {r['dtype']} {list(r['options'])}",
)
def test_100_steps_from_the_seed_alone(recorded: dict[str, Any]) -> None:
    cnn_runs.check(recorded)


@pytest.mark.parametrize("net", ["convnet", "lenet"])
@pytest.mark.parametrize("recorded", RECORD["notes"], ids=lambda r: f"seed {r['seed']}")
def test_the_notes_programs(recorded: dict[str, Any], net: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    printed = "\n".join(
        lines("train_cnn.py", "--net", net, "--seed", recorded["seed"], "--json", path)
    )
    record = json.loads(path.read_text())
    assert record["arguments"]["seed"] == recorded["seed"]
    assert {"jax", "fgrad", "python"} <= set(record["versions"])
    for key, value in recorded[net].items():
        if key == "gradient_norms":
            assert list(record[key]) == list(value)
            assert list(record[key].values()) == pytest.approx(list(value.values()), rel=1e-5)
            assert all(f"{norm:.6g}" in printed for norm in record[key].values())
        else:
            np.testing.assert_allclose(record[key], value, rtol=1.3e-6, atol=1e-5)
    if net == "convnet":
        assert f"step 1 loss {record['loss'][1]:.6g}" in printed


def test_more_steps_go_on_and_the_summary_comes_first() -> None:
    printed = lines("train_cnn.py", "--steps", 5, "--summary", "--lr", 0.001)
    assert printed[0].startswith("layer")
    assert printed[6].split() == ["total", "6,456,942", "7,181,400"]
    losses = [float(line.split()[-1]) for line in printed if line.startswith("step")]
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)


def test_no_step_is_a_forward_pass() -> None:
    printed = lines("train_cnn.py", "--steps", 0)
    assert [line.split()[0] for line in printed] == ["target", "output", "step", "output"]
    assert printed[1] == printed[3]


def test_divergence_is_one_line_and_the_record_ends_before_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result = run("train_cnn.py", "--steps", 5, "--lr", "1e30", "--json", path)
    assert result.returncode == 1
    assert result.stderr.startswith("train_cnn.py: error: loss: expected finite values, got ")
    assert result.stderr.count("\n") == 1
    record = json.loads(path.read_text())
    assert np.isfinite(record["loss"]).all()
    assert len(record["loss"]) < 6
    assert record["output_after"] is None
    assert record["divergence"] in result.stderr


BAD = {
    "net": (["--net", "vgg"], "argument --net: invalid choice: 'vgg'"),
    "seed": (["--seed", 2**64], "argument --seed: expected -2**63 to"),
    "steps": (["--steps", -1], "argument --steps: expected 0 or more, got -1"),
    "lr": (["--lr", 0], "argument --lr: expected a number above 0, got '0'"),
    "lenet steps": (["--net", "lenet", "--steps", 1], "expected --net convnet, got --net lenet"),
    "lenet lr": (["--net", "lenet", "--lr", 1], "argument --lr: expected --net convnet"),
    "json": (["--json", "/no/such/run.json"], "cannot write '/no/such/run.json'"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_usage(options: list[object], message: str) -> None:
    result = run("train_cnn.py", *options)
    assert_refused(result, message)
