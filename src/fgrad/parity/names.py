"""Which recorded value an intermediate of a port is."""

import difflib
from collections.abc import Mapping

from fgrad.parity.mapping import ParameterMap, join
from fgrad.parity.recording import Recording


class Names:
    """Which recorded value a named intermediate of a port is.

    Args:
        recording: The recording.
        weights: Which parameters belong to which module.
        renamed: The user's own renaming.
    """

    def __init__(
        self, recording: Recording, weights: ParameterMap, renamed: Mapping[str, str]
    ) -> None:
        """Check the renaming."""
        step = recording.steps["float32"][0]
        self.places = [call.place for call in step.calls if call.outputs]
        self._weights = weights
        self._renamed = dict(renamed)
        for name, place in renamed.items():
            self._known(place, f"names[{name!r}]")

    def of_name(self, name: str) -> str:
        """Return the place of a value that the user named.

        Args:
            name: From `checkpoint_name`, numbered as `record` numbers calls.

        Returns:
            The place.

        Raises:
            ValueError: If there is none.
        """
        base, mark, count = name.partition("#")
        return self._known(self._renamed.get(base, base) + mark + count, "checkpoint_name")

    def of_module(self, path: str) -> str | None:
        """Return the place of what a module of the port returned, or None if none is known.

        Args:
            path: The port's module, numbered as `record` numbers calls.

        Returns:
            The place.
        """
        base, mark, count = path.partition("#")
        place = self._renamed.get(base, base) + mark + count
        if place in self.places:
            return place
        owner = self._weights.owner(base)
        place = (owner or base) + mark + count
        return place if place in self.places else None

    def _known(self, place: str, argument: str) -> str:
        if place in self.places:
            return place
        near = difflib.get_close_matches(place, self.places, n=3)
        hint = f"such as {join(near)}" if near else f"among {join(self.places)}"
        raise ValueError(f"{argument}: expected the name of a module, {hint}, got {place!r}")
