"""What the rows of a window were worth, each and together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.stats.intervals import Estimate, mean_of
from app.stats.magnitudes import exact_sum

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Worth:
    """The worth of each row.

    Attributes:
        values: shape (rows,), NaN where it is undefined.
        undefined: how many rows have none: a missing value, a division by zero, a logarithm of a negative number.
    """

    values: Floats
    undefined: int

    def mean(self, alpha: float) -> Estimate:
        """The worth of a row, over those that have one.

        Raises:
            TooLittleData: fewer than `MINIMUM` have one.
            ValueError: an end of the interval is beyond all numbers.
        """
        return mean_of(self._defined, alpha)

    @property
    def total(self) -> float | None:
        """The worth of all rows that have one; None where none has, or where it is beyond all numbers."""
        total = exact_sum(self._defined)
        return total if len(self._defined) and np.isfinite(total) else None

    @property
    def _defined(self) -> Floats:
        return self.values[np.isfinite(self.values)]
