"""`docs/pytorch_to_jax.md` live: PyTorch's block of each section gives what the JAX block gives."""

import pytest
from lesson_page import Section, assert_same, result, sections

torch = pytest.importorskip("torch")

SECTIONS = sections()


@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated:UserWarning")
@pytest.mark.parametrize("section", SECTIONS, ids=[section.heading for section in SECTIONS])
def test_both_blocks_give_the_same(section: Section) -> None:
    assert_same(result(section.part("jax")), result(section.part("pytorch")), exact=section.exact)
