"""How a trading model does, from its returns in the order of time."""

from math import ceil, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.intervals import Estimate, around, proportion, require
from app.stats.magnitudes import unit_of

Floats = NDArray[np.float64]


def sharpe_ratio(
    returns: ArrayLike, alpha: float, *, periods_per_year: float = 1.0, riskless: float = 0.0
) -> Estimate:
    """Mean excess return over its standard deviation, by the year.

    The interval is Lo's, with the Newey–West variance: it allows for fat tails and for returns that depend on earlier
    ones (Financial Analysts Journal 58(4), 2002, p. 36-52, appendix A; weights of Newey and West, Econometrica 55, 1987).
    The year is √periods times the period, as for independent returns.

    Args:
        returns: simple or logarithmic, of equal periods, shape (periods,).
        alpha: the share of times that the interval may miss.
        periods_per_year: 252 for trading days, 8760 for hours around the clock; 1 leaves the ratio by the period.
        riskless: the return of a period that no risk is taken for.

    >>> daily = np.random.default_rng(1).normal(0.001, 0.01, 500)
    >>> year = sharpe_ratio(daily, 0.05, periods_per_year=252)
    >>> round(year.value, 2), round(year.low, 2), round(year.high, 2)
    (1.12, -0.11, 2.35)

    Raises:
        TooLittleData: there are fewer than `MINIMUM` returns.
        ValueError: one is not finite, they don't vary, or there is no period in a year.
    """
    excess = _series(returns) - riskless
    require("returns", len(excess), len(excess))
    excess /= unit_of(float(np.abs(excess).max()))  # the ratio has no unit
    deviation = float(excess.std(ddof=1))
    if not deviation > 1e-12 * float(np.abs(excess).max()) or not 0 < periods_per_year < np.inf:
        raise ValueError("a Sharpe ratio needs returns that vary, and periods in a year")
    ratio = float(excess.mean()) / deviation
    standard = (excess - excess.mean()) / deviation
    error = sqrt(_long_run_variance(standard - ratio / 2 * (standard**2 - 1)) / len(excess))
    year = sqrt(periods_per_year)
    return around(ratio * year, error * year, len(excess), alpha)


def _long_run_variance(influence: Floats) -> float:
    """With weights that fall to 0 over 4 (T / 100)^(2/9) lags, so that it can't be negative."""
    centred, length = influence - influence.mean(), len(influence)
    lags = ceil(4 * (length / 100) ** (2 / 9))
    own = float(centred @ centred)
    shared = sum(float(centred[k:] @ centred[:-k]) * (1 - k / (lags + 1)) for k in range(1, lags + 1))
    return float(max(0.0, own + 2 * shared)) / length


def maximum_drawdown(returns: ArrayLike) -> float:
    """The largest loss from a peak to a later low, as a share of the peak, in [0, 1]; the start counts as a peak.

    Args:
        returns: simple ones, compounding, shape (periods,), none below -1.

    >>> round(maximum_drawdown([0.10, -0.20, 0.05, -0.10, 0.40]), 3)
    0.244

    Raises:
        ValueError: there are none, one is not finite, or one loses more than everything.
    """
    series = _series(returns)
    if series.min() < -1:
        raise ValueError("a return below -1 loses more than there is")
    with np.errstate(divide="ignore", over="ignore"):
        wealth = np.append(0.0, np.log1p(series).cumsum())
    peaks = np.maximum.accumulate(wealth)
    with np.errstate(invalid="ignore"):  # once all is lost it stays so
        return abs(float(np.expm1((wealth - peaks).min())))


def win_rate(returns: ArrayLike, alpha: float) -> Estimate:
    """The share of gains among the returns that are gains or losses.

    >>> win_rate([0.01] * 12 + [-0.01] * 8 + [0.0] * 5, 0.05).value
    0.6

    Raises:
        TooLittleData: fewer than `MINIMUM` of them are.
        ValueError: one is not finite.
    """
    series = _series(returns)
    decided = int(np.count_nonzero(series))
    require("gains or losses", decided, len(series))
    return proportion(int(np.sum(series > 0)), decided, alpha)


def _series(returns: ArrayLike) -> Floats:
    series = np.asarray(returns, np.float64)
    if series.ndim != 1 or not len(series) or not np.isfinite(series).all():
        raise ValueError("returns are a series of finite numbers, one at least")
    return series
