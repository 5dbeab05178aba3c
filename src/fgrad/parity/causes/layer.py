"""A recorded call of a layer."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fgrad.parity.causes.evidence import Hypothesis
from fgrad.parity.recording import Call, NumPy, Step


class Layer(NamedTuple):
    """One recorded call, and what it was made with.

    Attributes:
        call: The call.
        kind: The module's class.
        config: Its settings.
        entries: Its own weights and buffers, by their last name.
        step: The step, for dropout's masks and the other calls.
    """

    call: Call
    kind: str
    config: Mapping[str, Any]
    entries: Mapping[str, NumPy]
    step: Step

    @property
    def x(self) -> NumPy:
        """Its first input."""
        return self.call.inputs[0]

    @property
    def y(self) -> NumPy:
        """Its first output."""
        return self.call.outputs[0]


Formulas = Callable[[Layer], Iterator[Hypothesis]]
