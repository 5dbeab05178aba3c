"""What the JSON in a recording must say, before anything is made of it."""

from collections.abc import Iterator
from typing import Any, Final

_NUMBER: Final = int | float
_THING: Final = {"kind": str, "config": {str: object}}
_MOVED: Final = {"float32": {str: _NUMBER}, "float64": {str: _NUMBER}}

# A type stands for its values, [x] for a list of x, {str: x} for any names with an x each, and any
# other dict for these names, at least.
_FACTS: Final[dict[Any, Any]] = {
    "same": {str: str},
    "state": [str],
    "parameters": [str],
    "frozen": [str],
    "tied": {str: str},
    "modules": {str: _THING},
    "loss": _THING,
    "optimizer": {"kind": str, "groups": [{"names": [str], "options": {str: object}}]},
    "settings": {str: object},
    "batches": [list],
    "steps": [
        {
            "batch": int,
            "calls": [{"place": str, "module": str, "inputs": int, "outputs": int}],
            "output": object,
            "buffers": {str: [str]},
            "masks": [{"place": str, "p": _NUMBER}],
            "noise": _MOVED,
            "drift": _MOVED,
        }
    ],
}


def check(facts: dict[str, Any]) -> None:
    """Raise if something is missing that the check of a port would look for.

    Args:
        facts: The JSON in a recording.

    Raises:
        ValueError: If a fact is missing or of another type, or names what is not there.

    Example:
        >>> check({"same": {}, "state": ["weight", 3]})
        Traceback (most recent call last):
          ...
        ValueError: state[1] is no str
    """
    for wrong in _wrong(facts, _FACTS, ""):
        raise ValueError(wrong)
    named = [*facts["parameters"], *facts["frozen"], *facts["tied"].values()]
    named += [name for group in facts["optimizer"]["groups"] for name in group["names"]]
    if unknown := {*named} - {*facts["state"]}:
        raise ValueError(f"state lacks {', '.join(sorted(unknown))}")
    for step in facts["steps"]:
        if unknown := {call["module"] for call in step["calls"]} - {*facts["modules"]}:
            raise ValueError(f"modules lacks {', '.join(sorted(unknown))}")
        if not step["calls"] or not 0 <= step["batch"] < len(facts["batches"]):
            raise ValueError("a step has no call or no batch")
    if not facts["steps"]:
        raise ValueError("there is no step")


def _wrong(value: object, expected: Any, at: str) -> Iterator[str]:  # noqa: ANN401
    """Yield what does not fit, by its place."""
    kind = type(expected) if isinstance(expected, list | dict) else expected
    if not isinstance(value, kind):
        name = getattr(kind, "__name__", "number")
        yield f"{at} is no {name}"
    elif isinstance(value, list) and isinstance(expected, list):
        for i, item in enumerate(value):
            yield from _wrong(item, expected[0], f"{at}[{i}]")
    elif isinstance(value, dict) and isinstance(expected, dict):
        if str in expected:
            expected = dict.fromkeys(value, expected[str])
        for name, item in expected.items():
            place = f"{at}.{name}" if at else name
            if name in value:
                yield from _wrong(value[name], item, place)
            else:
                yield f"{place} is missing"
