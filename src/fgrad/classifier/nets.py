"""The networks that classify, by name, for any number of channels and classes."""

from collections.abc import Callable
from typing import Final, NamedTuple

from fgrad import functional as F
from fgrad.models import convnet, lenet, mlp
from fgrad.random import Rng
from fgrad.types import ApplyFn, Array, ArrayLike, Params

SIZE: Final = 32
"""The height and the width of the images that they take."""

_HIDDEN: Final = (120, 84)  # of the mlp: LeNet's own


class Net(NamedTuple):
    """A network.

    Attributes:
        init: `init(rng) -> params`.
        apply: `apply(params, x) -> scores`, from (N, channels, 32, 32) to (N, classes).
    """

    init: Callable[[Rng], Params]
    apply: ApplyFn


def net(name: str, *, channels: int = 1, classes: int = 10) -> Net:
    """Return a network by its name.

    Args:
        name: `"lenet"`, `"convnet"` or `"mlp"`, which is LeNet without its convolutions.
        channels: How many an image has.
        classes: How many scores to give.

    Returns:
        The network.

    Raises:
        ValueError: If there is none of this name.

    Example:
        >>> from fgrad.random import Generator
        >>> init, apply = net("lenet", channels=3)
        >>> init(Generator(0))["conv1"]["weight"].shape
        (6, 3, 5, 5)
    """
    if name == "mlp":
        sizes = [channels * SIZE * SIZE, *_HIDDEN, classes]
        return Net(lambda rng: mlp.init(rng, sizes), _flat_mlp)
    models = {"lenet": lenet, "convnet": convnet}
    if name not in models:
        raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
    model = models[name]
    return Net(lambda rng: model.init(rng, channels=channels, classes=classes), model.apply)


NAMES: Final = ("lenet", "convnet", "mlp")
"""What `net` takes."""


def _flat_mlp(params: Params, x: ArrayLike) -> Array:
    return mlp.apply(params, F.flatten(x, 1))
