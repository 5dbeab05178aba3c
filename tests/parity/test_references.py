"""What the default tests read is what this PyTorch computes."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import lines

from fgrad import strict

pytest.importorskip("torch")
TOLERANCES = {"float64": (1e-12, 1e-12), "float32": (1.3e-6, 1e-5)}
REFERENCES = Path(__file__).parent.parent / "references"


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record everything once more."""
    folder = tmp_path_factory.mktemp("references")
    lines("record_references.py", "--output", folder)
    return folder


(OTHER,) = {*strict.PROCESSORS} - {strict.processor()}  # whose PyTorch this machine cannot run
RECORDED = sorted(
    {*REFERENCES.glob("*.npz"), *REFERENCES.glob("*.json")}
    - {REFERENCES / f"linear_module_{OTHER}.json"}
)


@pytest.mark.xdist_group("references")
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_recorded_again(path: Path, again: Path) -> None:
    other = again / path.name
    if path.suffix == ".json":
        old, new = (json.loads(file.read_text()) for file in (path, other))
        old.pop("versions")
        new.pop("versions")
        assert jax.tree.structure(new) == jax.tree.structure(old)
        # A hundred steps of a network in float32 are as far from another processor's.
        tolerance = 1e-4 if path.name == "cnn.json" else 0.0
        for value, expected in zip(*map(jax.tree.leaves, (new, old)), strict=True):
            exact = not isinstance(expected, float)
            assert value == (expected if exact else pytest.approx(expected, rel=tolerance))
        return
    with np.load(path) as old_file, np.load(other) as new_file:
        assert set(new_file) == set(old_file)
        for name in set(old_file) - {"versions", "index"}:
            new, old = new_file[name], old_file[name]
            if tolerance := TOLERANCES.get(str(old.dtype)):
                # Another processor's kernels may round otherwise.
                np.testing.assert_allclose(new, old, *tolerance, err_msg=name)
            else:
                np.testing.assert_array_equal(new, old, err_msg=name)
