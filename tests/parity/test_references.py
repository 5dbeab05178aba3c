"""What the default tests read is what this PyTorch computes."""

import json
from pathlib import Path

import pytest
from programs import lines

pytest.importorskip("torch")
REFERENCES = Path(__file__).parent.parent / "references"


def test_linear_module(tmp_path: Path) -> None:
    output = tmp_path / "linear_module.json"
    lines("record_regression_references.py", "--output", output)
    recorded = json.loads((REFERENCES / "linear_module.json").read_text())
    again = json.loads(output.read_text())
    for key in ("epochs", "runs", "sums"):
        assert again[key] == recorded[key]
