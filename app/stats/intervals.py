"""What is known of a number: its value, and the interval that holds the truth all but a share alpha of the times.

Alpha may be small: a monitor that looks for ever spends a little at each look. Each interval here says how it behaves
far out, where the normal approximation lies.
"""

from dataclasses import dataclass
from math import cbrt, ceil, hypot, inf, isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from app.stats.magnitudes import exact_sum, unit_of

MINIMUM = 20
"""Below so many rows in the rarest cell that a metric needs, delta method and bootstrap miscover by tens of percent."""
USUAL_ALPHA = 0.01
"""Below it a proportion gets the exact interval: with 99 % of 100 rows and alpha = .0001, Wilson's misses 34 times too often."""


@dataclass(eq=False)
class TooLittleData(ValueError):  # noqa: N818 - it says what there is
    """Too few rows for an interval or a verdict.

    Attributes:
        what: what there is too little of.
        have, need: how much there is and should be.
        rows: among how many labelled rows it was found.
    """

    what: str
    have: float
    need: float = MINIMUM
    rows: float = 0

    def __str__(self) -> str:
        return f"{self.need:.0f} {self.what} are needed, there are {self.have:.0f}"

    @property
    def labels_missing(self) -> int | None:
        """About how many more labels bring it to what is needed; None while there is no rate to tell from.

        >>> TooLittleData("rows of class 'fraud'", have=5, rows=1000).labels_missing
        3000
        """
        return ceil((self.need - self.have) * self.rows / self.have) if self.have and self.rows else None


def require(what: str, have: float, rows: float, need: int = MINIMUM) -> None:
    """Refuse to go on with fewer than `need`.

    >>> require("rows", 20, 20)

    Raises:
        TooLittleData: there are fewer.
    """
    if have < need:
        raise TooLittleData(what, have, need, rows)


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value, low, high: in the metric's own unit; low ≤ value ≤ high.
        rows: how many independent observations carry it, or dependent ones are worth; its width falls with their square
            root. 0 for what is simply known.
    """

    value: float
    low: float
    high: float
    rows: float = 0


def known(value: float) -> Estimate:
    """A number without a sample behind it, such as a baseline that somebody stated.

    >>> known(0.9)
    Estimate(value=0.9, low=0.9, high=0.9, rows=0)
    """
    return Estimate(value, value, value)


def normal_quantile(alpha: float) -> float:
    """How many standard errors hold all but alpha of a normal distribution, on both sides together.

    >>> round(normal_quantile(0.05), 3)
    1.96

    Raises:
        ValueError: alpha is not in (0, 1).
    """
    _check(alpha)
    return -float(special.ndtri(alpha / 2))


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, not at {alpha}")


def proportion(successes: float, rows: float, alpha: float) -> Estimate:
    """A share of independent rows, or of as many as dependent ones are worth, by Wilson's interval; by the exact one where alpha is below `USUAL_ALPHA`.

    Wilson, JASA 22 (1927), p. 209-212; Clopper and Pearson, Biometrika 26 (1934), p. 404-413.

    >>> accuracy = proportion(90, 100, 0.05)
    >>> round(accuracy.low, 4), round(accuracy.high, 4)
    (0.8256, 0.9448)

    Raises:
        ValueError: there are no rows, more successes than rows, or alpha is not in (0, 1).
    """
    if not 0 <= successes <= rows or not rows:
        raise ValueError(f"{successes} of {rows} rows is no share")
    z = normal_quantile(alpha)
    low, high = _wilson(successes, rows, z) if alpha >= USUAL_ALPHA else _exact(successes, rows, alpha)
    return Estimate(successes / rows, low, high, rows)


def _wilson(successes: float, rows: float, z: float) -> tuple[float, float]:
    share = successes / rows
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _exact(successes: float, rows: float, alpha: float) -> tuple[float, float]:
    failures = rows - successes
    low = float(special.betaincinv(successes, failures + 1, alpha / 2)) if successes else 0.0
    high = float(special.betainccinv(successes + 1, failures, alpha / 2)) if failures else 1.0
    return low, high


def around(
    value: float, error: float, rows: int, alpha: float, *, bounds: tuple[float, float] = (-inf, inf)
) -> Estimate:
    """A value within so many standard errors, by Student's t with `rows` - 1 degrees of freedom, cut at the bounds.

    >>> around(0.5, 0.1, 30, 0.05, bounds=(0.0, 0.6))
    Estimate(value=0.5, low=0.29547703578672957, high=0.6, rows=30)

    Raises:
        ValueError: the error is no number, there are fewer than two rows, or alpha is not in (0, 1).
    """
    if not error >= 0 or rows < 2:
        raise ValueError(f"{rows} rows with a standard error of {error} make no interval")
    _check(alpha)
    half = -float(special.stdtrit(rows - 1, alpha / 2)) * error
    least, most = bounds
    return Estimate(
        value, min(value, max(least, value - half)), max(value, min(most, value + half)), int(rows)
    )


def within_unit(value: float, centre: float, error: float, rows: float, alpha: float) -> Estimate:
    """A value in [0, 1] with an interval that is symmetric in log-odds, so that it stays inside.

    Args:
        value: the estimate itself.
        centre: the same, smoothed away from 0 and 1.
        error: the standard error of the centre.
        rows: how many rows carry it.
        alpha: the share of times that the interval may miss.

    >>> nearly = within_unit(1.0, 0.98, 0.01, 50, 0.05)
    >>> round(nearly.low, 3), nearly.high
    (0.947, 1.0)

    Raises:
        ValueError: the centre is not in (0, 1), or alpha isn't.
    """
    if not 0 < centre < 1:
        raise ValueError(f"log-odds of {centre} are not finite")
    half = normal_quantile(alpha) * error / (centre * (1 - centre))
    odds = float(special.logit(centre))
    low, high = float(special.expit(odds - half)), float(special.expit(odds + half))
    return Estimate(value, min(value, low), max(value, high), rows)


def in_unit(estimate: Estimate, unit: float) -> Estimate:
    """What was told in a unit, in the unit's own.

    >>> in_unit(Estimate(1.0, 0.5, 2.0, 30), 4.0)
    Estimate(value=4.0, low=2.0, high=8.0, rows=30)

    Raises:
        ValueError: the value, or an end of its interval, is beyond all numbers.
    """
    value, low, high = (number * unit for number in (estimate.value, estimate.low, estimate.high))
    if not (isfinite(value) and isfinite(low) and isfinite(high)):
        raise ValueError("values are so large that their mean or its interval is no number any more")
    return Estimate(value, low, high, estimate.rows)


def mean(total: float, squares: float, cubes: float, rows: float, alpha: float) -> Estimate:
    """The mean of independent values from the sums of their first three powers; constant ones get no width.

    Student's t with its skewness removed: losses have long right tails, and without that an interval at alpha = .01 of
    200 lognormal ones lies wholly below the truth in 2.5 % (Hall, J. R. Stat. Soc. B 54, 1992, p. 221-228, equation 2.3).

    >>> told = mean(total=60.0, squares=220.0, cubes=1000.0, rows=20, alpha=0.05)
    >>> told.value, round(told.low, 3), round(told.high, 3)
    (3.0, 2.466, 4.164)

    Raises:
        TooLittleData: there are fewer than `MINIMUM` rows.
        ValueError: alpha is not in (0, 1), or a sum or an end of the interval is beyond all numbers.
    """
    _check(alpha)
    require("rows", rows, rows)
    unit = unit_of(max(abs(total / rows), sqrt(squares / rows)))
    middle, second = total / rows / unit, squares / rows / unit / unit
    third = cubes / rows / unit / unit / unit
    variance = max(0.0, second - middle * middle)
    skewness = (third - 3 * middle * second + 2 * middle * middle * middle) / (variance**1.5 or inf)
    error, quantile = sqrt(variance / (rows - 1)), -float(special.stdtrit(rows - 1, alpha / 2))
    low, high = (middle - error * _unskewed(end, skewness / sqrt(rows)) for end in (quantile, -quantile))
    return in_unit(Estimate(middle, min(low, middle), max(high, middle), rows), unit)


def _unskewed(quantile: float, skewness: float) -> float:
    """Hall's second transformation, turned round: what a t statistic of such skewness is where a normal one is this."""
    if abs(skewness) < 1e-6:
        return quantile
    return 3 / skewness * (cbrt(1 + skewness * (quantile - skewness / 6)) - 1)


def mean_of(values: ArrayLike, alpha: float) -> Estimate:
    """The mean of independent values.

    >>> mean_of([1e9 + 1, 1e9 - 1] * 10, 0.05).value
    1000000000.0

    Raises:
        TooLittleData: there are fewer than `MINIMUM`.
        ValueError: alpha is not in (0, 1), or an end of the interval is beyond all numbers.
    """
    array = np.asarray(values, np.float64)
    require("rows", len(array), len(array))
    unit = unit_of(float(np.abs(array).max()))
    standard = array / unit
    middle = exact_sum(standard) / len(array)
    rest = standard - middle
    told = mean(0.0, float(rest @ rest), float((rest**3).sum()), len(array), alpha)
    return in_unit(Estimate(middle, middle + told.low, middle + told.high, told.rows), unit)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """The first less the second, both independent, at the alpha of their own intervals (MOVER).

    Zou and Donner, Stat. Med. 27 (2008), p. 1693-1702, equation 5; with Wilson's intervals it is Newcombe's method 10
    (Stat. Med. 17, 1998, p. 873-890).

    >>> gap = difference(proportion(56, 70, 0.05), proportion(48, 80, 0.05))
    >>> round(gap.value, 4), round(gap.low, 4), round(gap.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    value = first.value - second.value
    below = hypot(first.value - first.low, second.high - second.value)
    above = hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above, min(first.rows, second.rows))


def ratio(first: Estimate, second: Estimate) -> Estimate:
    """The first over the second, both independent, at the alpha of their own intervals (MOVER-R).

    Donner and Zou, Stat. Methods Med. Res. 21 (2012), p. 347-359, section 2: where the interval of first - R · second
    touches 0.

    >>> relative = ratio(proportion(48, 80, 0.05), proportion(56, 70, 0.05))
    >>> round(relative.value, 4), round(relative.low, 4), round(relative.high, 4)
    (0.75, 0.6014, 0.9274)

    Raises:
        ValueError: the second may be 0 or less.
    """
    if second.low <= 0:
        raise ValueError("a ratio to what may be nothing has no interval")
    sizes = (abs(end) for end in (first.value, first.low, first.high) if isfinite(end))
    a_unit, b_unit = unit_of(max(sizes)), unit_of(second.value)
    a, b = first.value / a_unit, second.value / b_unit
    low = _touching(a, first.low / a_unit, b, second.high / b_unit, -1)
    high = _touching(a, first.high / a_unit, b, second.low / b_unit, +1)
    low, high = (end * (a_unit / b_unit) if end and isfinite(end) else end for end in (low, high))
    return Estimate(first.value / second.value, low, high, min(first.rows, second.rows))


def _touching(a: float, a_end: float, b: float, b_end: float, side: int) -> float:
    room = b_end * (2 * b - b_end)
    if room <= 0:  # so far does the second's interval reach that any ratio on this side is possible
        return side * inf
    return (a * b + side * sqrt(max(0.0, (a * b) ** 2 - a_end * (2 * a - a_end) * room))) / room
