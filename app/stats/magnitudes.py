"""Numbers as large and as small as they come: what is done lest powers and sums leave the range of floats."""

from math import frexp, fsum, ldexp

import numpy as np
from numpy.typing import ArrayLike


def unit_of(size: float) -> float:
    """The power of two of a finite size: divided by it, numbers of that size can be raised to powers, and lose no digit.

    >>> unit_of(-5e200) <= 5e200 < 2 * unit_of(5e200), unit_of(1.5), unit_of(0.0)
    (True, 1.0, 0.5)
    """
    return ldexp(1.0, frexp(size)[1] - 1)


def exact_sum(values: ArrayLike) -> float:
    """The sum of finite values, rounded once: what cancels out costs the others no digit; infinite if it is beyond all numbers.

    >>> exact_sum([1e308, 1e308, -1e308, -1e308, 0.1])
    0.1
    """
    array = np.asarray(values, np.float64)
    spare = (
        2.0**-64 if np.abs(array).max(initial=0.0) > 2.0**900 else 1.0
    )  # room to add up to 2^64 of the largest
    return fsum((array * spare).tolist()) / spare
