"""The arithmetic between a 32-bit draw and PyTorch's numbers, vectorised in NumPy."""

import math
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Doubles: TypeAlias = npt.NDArray[np.float64]
Words: TypeAlias = npt.NDArray[np.uint32]


def pairs(words: Words) -> npt.NDArray[np.uint64]:
    """Return the 64-bit numbers of an even count of words, the high half drawn first."""
    whole = words[0::2].astype(np.uint64)
    whole <<= np.uint64(32)
    whole |= words[1::2]
    return whole


def unit_floats(words: Words) -> npt.NDArray[np.float32]:
    """Return float32 numbers in [0, 1): the low 24 bits of a word each."""
    words &= 0xFFFFFF
    return words.astype(np.float32) * np.float32(2.0**-24)


def unit_doubles(words: Words) -> Doubles:
    """Return float64 numbers in [0, 1): the low 53 bits of a pair of words each."""
    whole = pairs(words)
    whole &= np.uint64(2**53 - 1)
    unit = whole.astype(np.float64)
    unit *= 2.0**-53
    return unit


def stretch(unit: Floats, low: float, high: float) -> Floats:
    """Return `unit * (high - low) + low` in `unit`'s dtype, as PyTorch's kernel does.

    It rounds once; and what it rounds up to `high`, which the interval leaves out, is `low`.
    """
    start, stop = unit.dtype.type(low), unit.dtype.type(high)
    fused = _fused32 if unit.dtype == np.float32 else _fused64
    result = fused(unit, float(stop - start), float(start))
    result[result == stop] = start
    return result


# NumPy has no fused multiply-add. Here the product and the sum are kept exact, as two numbers each,
# and rounded at last to one, in the manner of Boldo and Melquiond, "Emulation of FMA and correctly
# rounded sums" (IEEE Transactions on Computers 57, 2008).


def _fused32(unit: Floats, width: float, low: float) -> Floats:
    """Return `unit * width + low` of float32, rounded once."""
    # The product of two float32 is exact in float64, and so is the sum where that has the bits
    # for all that lies between the product's last one and the ends.
    product = unit.astype(np.float64) * width
    last = float(np.spacing(np.float32(width))) * 2.0**-24
    if low % last == 0 and abs(low) + width < last * 2.0**53:
        return (product + low).astype(np.float32)
    return _add_to_odd(product, low).astype(np.float32)


def _fused64(unit: Floats, width: float, low: float) -> Floats:
    """Return `unit * width + low` of float64, rounded once."""
    if 0 < width < 1e-270:  # the parts of the product would be too small for float64
        return np.array([scale_exactly(number, low, width) for number in unit.tolist()])
    exact = unit.astype(np.float64, copy=False)
    product = exact * width
    if math.frexp(width)[0] == 0.5:  # a power of two: nothing is lost yet
        return product + low
    error = _product_error(exact, width, product)
    total, rest = _two_sum(product, low)

    # What is left of the exact result is a sum that is rounded itself: half a unit of its last
    # place more or less decides only next to a tie, and there it is rounded to odd first.
    left = rest + error
    result = total + left * (1 + 2.0**-51)
    close = np.flatnonzero(result != total + left * (1 - 2.0**-51))
    if close.size:
        result[close] = total[close] + _add_to_odd(rest[close], error[close])
    return result


def _product_error(unit: Doubles, width: float, product: Doubles) -> Doubles:
    """Return `unit * width - product`, exactly, by halves of 26 and 27 bits (Dekker's product)."""
    unit_head = (unit.view(np.int64) & -(2**27)).view(np.float64)
    unit_tail = unit - unit_head
    mantissa, exponent = math.frexp(width)
    width_head = math.ldexp(round(mantissa * 2.0**26), exponent - 26)
    width_tail = width - width_head
    error = unit_head * width_head
    error -= product
    error += np.multiply(unit_head, width_tail, out=unit_head)
    error += unit_tail * width_head
    error += np.multiply(unit_tail, width_tail, out=unit_tail)
    return error


def _two_sum(a: Doubles, b: Doubles | float) -> tuple[Doubles, Doubles]:
    """Return the rounded sum of `a` and `b`, and what the rounding left out, exactly."""
    total = a + b
    from_b = total - a
    return total, (a - (total - from_b)) + (b - from_b)


def _add_to_odd(a: Doubles, b: Doubles | float) -> Doubles:
    """Return `a + b`; of the two neighbours of an inexact sum, the one whose last bit is odd.

    Rounding that again gives what rounding the exact sum would.
    """
    total, error = _two_sum(a, b)
    if error.any():
        even = (error != 0) & (total.view(np.int64) & 1 == 0)
        total[even] = np.nextafter(total[even], np.copysign(np.inf, error[even]))
    return total


def normal_pair(u: float, v: float) -> tuple[float, float]:
    """Return two standard normal numbers from two of [0, 1), as PyTorch does one by one."""
    radius = math.sqrt(-2.0 * math.log1p(-v))
    angle = 2.0 * math.pi * u
    return radius * math.cos(angle), radius * math.sin(angle)


def scale_exactly(number: float, start: float, width: float) -> float:
    """Return `number * width + start`, rounded once."""
    return float(Fraction(number) * Fraction(width) + Fraction(start))


def normal_blocks(unit: Floats, mean: float, std: float) -> Floats:
    """Return normal numbers from as many of [0, 1), a multiple of 16, as PyTorch does in bulk.

    Eight radii, then eight angles, make sixteen numbers.
    """
    blocks = unit.reshape(-1, 2, 8)
    # float32: the logarithm from float64, since NumPy's own is 4 ULP off and PyTorch's 3.
    log = np.log((1 - blocks[:, 0]).astype(np.float64)).astype(unit.dtype)
    radius = np.sqrt(-2 * log)
    angle = unit.dtype.type(2 * math.pi) * blocks[:, 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    if (mean, std) != (0.0, 1.0):
        normal = normal.astype(np.float64) * std + mean
    return normal.astype(unit.dtype).reshape(unit.shape)


def shuffled(words: Words) -> npt.NDArray[np.int64]:
    r"""Return the permutation that a Fisher-Yates walk over `words.size + 1` numbers makes.

    Step $i$ of the walk swaps place $i$ with place $t_i \ge i$, and place $i$ is never touched
    again. So what ends there had been put at $t_i$ by the last earlier step with that target, or
    else is $t_i$ itself; and what a step puts away is what the last step that targeted its own
    place had put there, and so on back to a place never targeted. The chains are short (their
    length grows with the logarithm), and following all of them at once, twice as far every time,
    takes a few array operations in place of a step a number.
    """
    count = words.size + 1
    step = np.arange(count, dtype=np.int64)
    target = step.copy()
    target[:-1] += (words % np.arange(count, 1, -1, dtype=np.uint32)).astype(np.int64)

    # Steps by target, and by time within one: a neighbour with the same target came just before.
    ordered = np.sort(target << 32 | step)
    place, time = ordered >> 32, ordered & 0xFFFFFFFF
    again = place[1:] == place[:-1]
    last = np.append(~again, True)

    put_away = step.copy()
    put_away[place[last]] = time[last]
    while not np.array_equal(further := put_away[put_away], put_away):
        put_away = further
    result = target
    result[time[1:][again]] = put_away[time[:-1][again]]
    return result
