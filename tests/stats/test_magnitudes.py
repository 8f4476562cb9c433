"""Numbers as large and as small as they come: intervals scale with their values, and nothing overflows on the way."""

from math import inf, isfinite, isnan

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.stats.error_sums import Error, error_of, sum_errors
from app.stats.intervals import (
    Estimate,
    around,
    difference,
    known,
    mean,
    mean_of,
    normal_quantile,
    proportion,
    ratio,
    within_unit,
)
from app.stats.magnitudes import exact_sum
from app.stats.performance import judge
from app.stats.returns import maximum_drawdown, sharpe_ratio, win_rate

POWERS = st.integers(-300, 300)
SIZES = st.one_of(st.just(0.0), st.builds(lambda sign, power, digits: sign * digits * 10.0**power, st.sampled_from([-1, 1]), POWERS, st.floats(1, 9.9)))  # fmt: skip
ABOVE_ZERO = SIZES.map(abs).filter(bool)
ALPHAS = st.sampled_from([1e-300, 1e-12, 1e-4, 0.05, 0.5])
SERIES = st.lists(SIZES, min_size=20, max_size=40)


@st.composite
def estimates(draw, sizes=SIZES):
    low, value, high = sorted(draw(st.lists(sizes, min_size=3, max_size=3)))
    if draw(st.booleans()):
        low, high = draw(st.sampled_from([(low, inf), (-inf, high), (value, value)]))
    return Estimate(value, low, high, draw(st.integers(1, 10**9)))


def is_told(ask, *given, **more):
    """Whether it was told rather than refused; what is told is no NaN, and in order."""
    try:
        told = ask(*given, **more)
    except ValueError:
        return False
    assert not any(map(isnan, (told.value, told.low, told.high))), told
    assert told.low <= told.high, told
    return True


@given(SERIES, ALPHAS)
@example([1e150] + [0.0] * 3999, 0.05)
@example([1e150] + [-1.0] * 30, 0.05)
def test_the_mean_of_any_numbers_is_told(values, alpha):
    assert is_told(mean_of, values, alpha)


def test_an_interval_beyond_all_numbers_is_refused_in_words():
    with pytest.raises(ValueError, match="so large"):
        mean_of([1.7e308, -1.7e308] * 10, 1e-6)


@pytest.mark.parametrize("power", [-300, -155, -110, 100, 104, 130, 150, 154, 155, 300])
def test_intervals_scale_with_their_values(power):
    values, unit = np.random.default_rng(1).lognormal(0, 1, 50), 2.0 ** round(power * 3.3219)
    plain, scaled = mean_of(values, 0.01), mean_of(values * unit, 0.01)
    assert (scaled.value, scaled.low, scaled.high) == (
        plain.value * unit,
        plain.low * unit,
        plain.high * unit,
    )
    one, other = Estimate(3.0, 2.5, 4.0, 50), Estimate(2.0, 1.95, 2.05, 60)
    large = [
        Estimate(each.value * unit, each.low * unit, each.high * unit, each.rows) for each in (one, other)
    ]
    assert ratio(*large) == ratio(one, other)
    assert difference(*large).low == pytest.approx(difference(one, other).low * unit, rel=1e-14)
    verdict = judge(one, other, 0.4, more_is_better=False)
    assert verdict.labels_missing
    assert judge(*large, 0.4, more_is_better=False) == verdict
    returns = np.random.default_rng(2).normal(1, 3, 100)
    assert sharpe_ratio(returns * unit, 0.05) == sharpe_ratio(returns, 0.05)


@given(SERIES)
def test_a_sum_is_rounded_once(values):
    whole = sum(
        int(value * 2.0**500) for value in values if abs(value) >= 2.0**-400 and abs(value) < 2.0**500
    )
    kept = [value for value in values if abs(value) >= 2.0**-400 and abs(value) < 2.0**500]
    assert exact_sum(kept) == whole / 2**500


def test_a_sum_beyond_all_numbers_is_infinite():
    assert exact_sum([1e308, -1e308, 1e160]) == 1e160
    assert exact_sum([1e308] * 3 + [-1e308] * 2) == 1e308
    assert exact_sum([-1.7e308] * 3) == -inf
    assert exact_sum([]) == 0


@given(SIZES, ABOVE_ZERO, st.integers(20, 10**9), ALPHAS)
def test_the_mean_from_sums_is_told_wherever_they_are_numbers(middle, spread, rows, alpha):
    squares, cubes = (middle * middle + spread * spread) * rows, (middle * middle * middle) * rows
    if isfinite(squares) and isfinite(cubes):
        is_told(mean, middle * rows, squares, cubes, rows, alpha)
    for total, second in [(0.0, 1e300), (1e300, inf)]:
        with pytest.raises(ValueError, match="so large"):
            mean(total, second, inf, 20, 0.05)


@given(SIZES, SIZES.map(abs), st.integers(2, 10**9), ALPHAS)
def test_standard_errors_of_any_size_make_an_interval(value, error, rows, alpha):
    assert is_told(around, value, error, rows, alpha)
    assert is_told(around, value, error, rows, alpha, bounds=(-1.0, 1.0))
    assert normal_quantile(alpha) > 0


@given(st.floats(1e-300, 1 - 1e-16), SIZES.map(abs), st.integers(1, 10**9), ALPHAS)
def test_log_odds_of_any_size_make_an_interval(centre, error, rows, alpha):
    assert is_told(within_unit, centre, centre, error, rows, alpha)


@given(st.floats(0, 1), st.floats(1e-3, 1e12), ALPHAS)
def test_any_share_is_told(share, rows, alpha):
    assert is_told(proportion, share * rows, rows, alpha)


@given(estimates(), estimates(), estimates(ABOVE_ZERO), st.floats(0.001, 0.999), st.booleans())
@example(known(1e300), known(-1e300), known(1e-300), 0.5, False)
def test_estimates_of_any_size_are_held_against_each_other(one, other, above, threshold, more_is_better):
    is_told(difference, one, other)
    is_told(ratio, one, above)
    is_told(lambda: judge(one, above, threshold, more_is_better=more_is_better).loss)


@given(SERIES, ALPHAS)
def test_returns_of_any_size_are_told(values, alpha):
    is_told(sharpe_ratio, values, alpha, periods_per_year=1e8)
    is_told(win_rate, values, alpha)
    is_told(lambda: known(maximum_drawdown(np.abs(values))))


@given(SERIES, st.integers(-150, 150), ALPHAS)
def test_errors_of_any_size_are_told_or_refused(values, power, alpha):
    sums = sum_errors(values, values[::-1], unit=10.0**power)
    for error in Error:
        is_told(error_of, sums, error, alpha)
