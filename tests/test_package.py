"""The package as a whole: names, lazy loading, version."""

import importlib.metadata
import subprocess
import sys

import pytest

import fgrad


def test_import_loads_nothing_else() -> None:
    code = (
        "import sys, fgrad; "
        "print([m for m in ('jax', 'numpy', 'optax', 'flax', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.parametrize("name", fgrad.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(fgrad, name) is not None


def test_public_names_are_sorted_and_listed() -> None:
    assert fgrad.__all__ == sorted(fgrad.__all__)
    assert set(fgrad.__all__) <= set(dir(fgrad))


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = fgrad.fits


def test_version_is_the_package_s() -> None:
    assert fgrad.__version__ == importlib.metadata.version("fgrad")
