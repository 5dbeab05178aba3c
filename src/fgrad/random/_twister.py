"""The stream that PyTorch's CPU generator draws from: the Mersenne Twister, and its bytes."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fgrad.random import _draws

# The bytes of `torch.Generator.get_state()`. The twister has given `next` of its 624 words, and
# has `left` - 1 to go; a new one has given none, and makes its words at the first draw.
_STATE: Final = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("key", "<u8", (624,)),
        ("normal_x", "<f8"),
        ("normal", "<f8"),
        ("normal_rho", "<f8"),
        ("has_normal", "<i4"),
        ("unused", "V12"),
    ]
)


class Twister:
    """MT19937 as PyTorch seeds it, and the second normal number of a pair while it waits.

    Args:
        seed: From 0 to 2^64 - 1.
    """

    def __init__(self, seed: int) -> None:
        """Start the stream of `seed`."""
        self._seed = seed
        self._source = _source(seed)
        self._normal: float | None = None

    def words(self, count: int) -> _draws.Words:
        """Draw `count` numbers of 32 bits."""
        return self._source.randint(0, 2**32, count, dtype=np.uint32)

    def unit(self, count: int, dtype: np.dtype[Any]) -> _draws.Floats:
        """Draw `count` float32 or float64 numbers in [0, 1)."""
        if dtype == np.float32:
            return _draws.unit_floats(self.words(count))
        return _draws.unit_doubles(self.words(2 * count))

    def normal(self) -> float:
        """Draw a standard normal number; they come in pairs."""
        if self._normal is None:
            unit = _draws.unit_doubles(self.words(4))
            number, self._normal = _draws.normal_pair(*unit.tolist())
        else:
            number, self._normal = self._normal, None
        return number

    def get_state(self) -> npt.NDArray[np.uint8]:
        """Return everything as PyTorch's bytes."""
        key, position = _key(self._source)
        fresh = np.array_equal(key, _key(_source(self._seed))[0])
        state = np.zeros(1, _STATE)
        state["seed"] = self._seed
        state["left"] = 625 - position
        state["seeded"] = 1
        state["next"] = 0 if fresh else position
        state["key"] = key
        state["normal"] = self._normal or 0.0
        state["has_normal"] = self._normal is not None
        return state.view(np.uint8)

    def set_state(self, state: npt.ArrayLike) -> None:
        """Take everything from PyTorch's bytes."""
        data = np.asarray(state)
        if data.dtype != np.uint8 or data.shape != (_STATE.itemsize,):
            raise ValueError(
                f"state: expected {_STATE.itemsize} bytes as uint8, got {data.dtype} of shape "
                f"{data.shape}"
            )
        fields = np.frombuffer(data.tobytes(), _STATE)[0]
        left, following = int(fields["left"]), int(fields["next"])
        if (
            fields["seeded"] != 1
            or not 1 <= left <= 624
            or (left + following != 625 and (left, following) != (1, 0))
            or (fields["key"] >= 2**32).any()
        ):
            raise ValueError("state: expected the bytes of a generator's state, got others")
        self._seed = int(fields["seed"])
        self._source.set_state(("MT19937", fields["key"].astype(np.uint32), 625 - left, 0, 0.0))
        self._normal = float(fields["normal"]) if fields["has_normal"] else None


def _source(seed: int) -> np.random.RandomState:
    # PyTorch keeps the low 32 bits, and seeds the twister as NumPy's RandomState does, whose
    # stream NumPy has promised never to change.
    return np.random.RandomState(seed % 2**32)


def _key(source: np.random.RandomState) -> tuple[_draws.Words, int]:
    """Return the twister's words, and how many of them are used up."""
    state = source.get_state(legacy=False)["state"]
    return state["key"], state["pos"]
