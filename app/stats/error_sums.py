"""How far a regression's answers are from the truth, from sums that merge exactly.

Sums are whole numbers of 2^-`BITS`, without a limit to their size: neither the order of merging nor the number of parts
can change a bit of the result, and one absurd label counts for what it is without costing the others a digit.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.intervals import Estimate, around, in_unit, mean, require

Floats = NDArray[np.float64]

BITS = 160  # the sixth power of an error of a hundred-millionth of a unit is still more than nothing
FARTHEST = 1e20  # units: an error or a true value beyond counts as that far, and is counted
_MANTISSA, _HALF = 53, 32  # bits


class Error(StrEnum):
    """What is told of the errors; `R2` is the only one of which more is better."""

    MAE = "mae"
    MSE = "mse"
    RMSE = "rmse"
    R2 = "r2"
    BIAS = "bias"


@dataclass(frozen=True)
class ErrorSums:
    """Sums over rows of powers of the error e = predicted - actual and of the actual value y.

    Attributes:
        centre, unit: y stands for (y - centre) / unit and e for e / unit: mean and standard deviation of the reference.
        rows: how many rows are in the sums.
        unusable: rows of which one side is no finite number; in no sum.
        clipped: rows with an e or y of more than `FARTHEST` units.
        e, abs_e, e2, e3, abs_e3, e4, e6, y, y2, y3, y4, e2y, e2y2: the sums, in 2^-`bits`.
        bits: the finest that is in the sums; those that were stored before there was a choice are in 2^-20.
    """

    centre: float
    unit: float
    rows: int = 0
    unusable: int = 0
    clipped: int = 0
    e: int = 0
    abs_e: int = 0
    e2: int = 0
    e3: int = 0
    abs_e3: int = 0
    e4: int = 0
    e6: int = 0
    y: int = 0
    y2: int = 0
    y3: int = 0
    y4: int = 0
    e2y: int = 0
    e2y2: int = 0
    bits: int = 20

    def __add__(self, other: "ErrorSums") -> "ErrorSums":
        """Both together.

        Raises:
            ValueError: they are in different units.
        """
        if (self.centre, self.unit) != (other.centre, other.unit):
            raise ValueError("error sums in different units don't add up")
        one, two = self._at(max(self.bits, other.bits)), other._at(max(self.bits, other.bits))
        return replace(
            one, **{name: getattr(one, name) + getattr(two, name) for name in (*_COUNTS, *_POWERS)}
        )

    def _at(self, bits: int) -> "ErrorSums":
        powers = {name: getattr(self, name) << (bits - self.bits) for name in _POWERS}
        return replace(self, bits=bits, **powers)

    def thinned(self, by: float) -> "ErrorSums":
        """As many fewer independent rows, to the nearest whole one, alike."""
        rows = round(self.rows / by)
        sums = {name: getattr(self, name) * rows // self.rows for name in _POWERS} if self.rows else {}
        return replace(self, rows=rows, **sums)

    def total(self, name: str) -> float:
        """The sum of a power, in units."""
        whole: int = getattr(self, name)
        return whole / (1 << self.bits)

    def per_row(self, name: str) -> float:
        """The mean of a power, in units."""
        return self.total(name) / self.rows


_COUNTS = ("rows", "unusable", "clipped")
_POWERS = ("e", "abs_e", "e2", "e3", "abs_e3", "e4", "e6", "y", "y2", "y3", "y4", "e2y", "e2y2")


def sum_errors(
    actual: ArrayLike, predicted: ArrayLike, *, centre: float = 0.0, unit: float = 1.0
) -> ErrorSums:
    """The sums of some rows.

    Args:
        actual: what came true, shape (rows,).
        predicted: what was predicted for it, in the same unit.
        centre: mean of the reference's actual values.
        unit: their standard deviation; all sums of a model share both.

    >>> sums = sum_errors([1.0, 2.0, np.nan], [1.5, 2.0, 3.0])
    >>> sums.rows, sums.unusable, sums.per_row("abs_e")
    (2, 1, 0.25)

    Raises:
        ValueError: there are more of the ones than of the others, or the unit is not above 0.
    """
    y, guess = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    if y.shape != guess.shape or y.ndim != 1 or not 0 < unit < np.inf:
        raise ValueError(
            f"actual {y.shape} and predicted {guess.shape} are two vectors of one length, in a unit above 0"
        )
    is_usable = np.isfinite(y) & np.isfinite(guess)
    y, guess = y[is_usable], guess[is_usable]
    with np.errstate(over="ignore"):
        far_e, far_y = (guess - y) / unit, (y - centre) / unit
    e, y = np.clip(far_e, -FARTHEST, FARTHEST), np.clip(far_y, -FARTHEST, FARTHEST)
    return ErrorSums(
        centre,
        unit,
        rows=len(e),
        unusable=int(is_usable.size - len(e)),
        clipped=int(np.sum((e != far_e) | (y != far_y))),
        **{name: _exactly(power) for name, power in _powers(e, y).items()},
        bits=BITS,
    )


def _powers(e: Floats, y: Floats) -> dict[str, Floats]:
    e2, y2 = e**2, y**2
    return {
        "e": e,
        "abs_e": np.abs(e),
        "e2": e2,
        "e3": e2 * e,
        "abs_e3": np.abs(e2 * e),
        "e4": e2**2,
        "e6": e2**3,
        "y": y,
        "y2": y2,
        "y3": y2 * y,
        "y4": y2**2,
        "e2y": e2 * y,
        "e2y2": e2 * y2,
    }


def _exactly(values: Floats) -> int:
    """The sum in 2^-`BITS`, each value rounded down by itself: mantissas are added up apart for each exponent."""
    parts, exponents = np.frexp(values)
    mantissas = np.ldexp(parts, _MANTISSA).astype(np.int64)
    shifts = exponents + (BITS - _MANTISSA)
    mantissas >>= np.clip(-shifts, 0, 63)
    shifts = np.maximum(shifts, 0)
    high, low = (np.zeros(int(shifts.max(initial=0)) + 1, np.int64) for _ in range(2))
    np.add.at(high, shifts, mantissas >> _HALF)  # either half of so many fits into 64 bits
    np.add.at(low, shifts, mantissas & ((1 << _HALF) - 1))
    return sum(((int(high[at]) << _HALF) + int(low[at])) << at for at in np.unique(shifts).tolist())


def error_of(sums: ErrorSums, error: Error, alpha: float) -> Estimate:
    """A mean of the errors, or what follows from means, with its interval by the delta method.

    R² = 1 - Σe² / Σ(y - ȳ)²; its influence is that of a ratio (Deng, Knoblich and Lu, KDD 2018, section 2).
    Distributions with heavy tails need several hundred rows until their means are as normal as the interval takes them.

    >>> sums = sum_errors(np.arange(100.0), np.arange(100.0) + np.tile([-1.0, 1.0, 2.0, -2.0], 25))
    >>> error_of(sums, Error.MAE, 0.05).value, round(error_of(sums, Error.R2, 0.05).value, 4)
    (1.5, 0.997)

    Raises:
        TooLittleData: there are fewer than `MINIMUM` rows.
        ValueError: R² where the actual values don't vary.
    """
    require("rows", sums.rows, sums.rows)
    return _TELLERS[error](sums, alpha)


def _mean(sums: ErrorSums, powers: tuple[str, str, str], unit: float, alpha: float) -> Estimate:
    total, squares, cubes = map(sums.total, powers)
    return in_unit(mean(total, squares, cubes, sums.rows, alpha), unit)


def _mae(sums: ErrorSums, alpha: float) -> Estimate:
    return _not_below_zero(_mean(sums, ("abs_e", "e2", "abs_e3"), sums.unit, alpha))


def _mse(sums: ErrorSums, alpha: float) -> Estimate:
    return _not_below_zero(_mean(sums, ("e2", "e4", "e6"), sums.unit * sums.unit, alpha))


def _bias(sums: ErrorSums, alpha: float) -> Estimate:
    return _mean(sums, ("e", "e2", "e3"), sums.unit, alpha)


def _not_below_zero(estimate: Estimate) -> Estimate:
    return replace(estimate, low=max(0.0, estimate.low))


def _rmse(sums: ErrorSums, alpha: float) -> Estimate:
    squared = _not_below_zero(_mean(sums, ("e2", "e4", "e6"), 1.0, alpha))
    root = Estimate(sqrt(squared.value), sqrt(squared.low), sqrt(squared.high), squared.rows)
    return in_unit(root, sums.unit)


def _r2(sums: ErrorSums, alpha: float) -> Estimate:
    middle, error = sums.per_row("y"), sums.per_row("e2")
    spread = sums.per_row("y2") - middle**2
    if spread <= 0:
        raise ValueError("R² is undefined where the actual values don't vary")
    rest = error / spread
    of_spread = _fourth(sums, middle) - spread**2
    both = sums.per_row("e2y2") - 2 * middle * sums.per_row("e2y") + middle**2 * error - error * spread
    variance = (sums.per_row("e4") - error**2 - 2 * rest * both + rest**2 * of_spread) / spread**2
    return around(
        1 - rest, sqrt(max(0.0, variance) / (sums.rows - 1)), sums.rows, alpha, bounds=(-np.inf, 1.0)
    )


def _fourth(sums: ErrorSums, middle: float) -> float:
    """The fourth central moment of the actual values."""
    first, second, third, fourth = (sums.per_row(name) for name in ("y", "y2", "y3", "y4"))
    return fourth - 4 * middle * third + 6 * middle**2 * second - 4 * middle**3 * first + middle**4


_TELLERS = {Error.MAE: _mae, Error.MSE: _mse, Error.RMSE: _rmse, Error.R2: _r2, Error.BIAS: _bias}
