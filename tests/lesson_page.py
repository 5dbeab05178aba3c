"""The sections of `docs/pytorch_to_jax.md`: a PyTorch block, a JAX block, what differs."""

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PAGE = Path(__file__).parent.parent / "docs" / "pytorch_to_jax.md"

# The page's promise: to the last bit, or to float32 rounding.
RTOL, ATOL = 1.3e-6, 1e-5

FORM = re.compile(
    r"(?P<heading>[^\n]+)\n\n"
    r"```py\n(?P<pytorch>.*?)```\n\n"
    r"```python\n(?P<jax>.*?# (?P<rounded>≈ )?(?P<stated>[^\n]+)\n)```\n\n"
    r"(?P<difference>[^\n#`|-].*|`.*)",
    re.DOTALL,
)


class Section(NamedTuple):
    """One name, or a group of names, in PyTorch and in JAX.

    Attributes:
        theme: The heading above its own.
        heading: Its own, which holds the names.
        text: All of it, from its heading on.
    """

    theme: str
    heading: str
    text: str

    def part(self, name: str) -> str:
        """Return a part of the form: `pytorch`, `jax`, `stated` or `difference`."""
        found = FORM.fullmatch(self.text)
        assert found, f"not of the form of a section:\n{self.text}"
        return found[name]

    @property
    def exact(self) -> bool:
        """Whether the result is promised to the last bit."""
        return not self.part("rounded")

    @property
    def stated(self) -> object:
        """The result that the page states."""
        return ast.literal_eval(self.part("stated"))


def sections() -> list[Section]:
    """Return the page's sections in order."""
    _, *themes = PAGE.read_text().split("\n## ")
    return [
        Section(theme.partition("\n")[0], text.partition("\n")[0], text.strip())
        for theme in themes
        for text in theme.split("\n### ")[1:]
    ]


def result(code: str) -> Any:
    """Run a block in a namespace of its own and return its `result`."""
    namespace: dict[str, Any] = {"__name__": "block"}
    exec(compile(code, str(PAGE), "exec"), namespace)
    return namespace["result"]


def assert_same(actual: Any, expected: Any, *, exact: bool) -> None:
    """Compare results, possibly nested: stated ones, JAX's and PyTorch's."""
    if isinstance(actual, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(actual, list | tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, exact=exact)
        return
    if isinstance(actual, str):
        assert actual == expected
        return
    actual, expected = (
        np.asarray(value.detach() if hasattr(value, "detach") else value)
        for value in (actual, expected)
    )
    assert actual.shape == expected.shape
    assert actual.dtype.kind == expected.dtype.kind
    if exact:
        # Of the shortest decimal that names a float32, its float32.
        np.testing.assert_array_equal(actual, expected.astype(actual.dtype))
    else:
        np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=ATOL)
