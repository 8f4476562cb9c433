"""M9: references by the hour of the week: silent through the season, awake to what is none."""

import numpy as np
import pytest

from app.stats.axes import category_axis, numeric_axis
from app.stats.drift import compare
from app.stats.profile import Layout, Profile, merge, observe
from app.stats.reference import Reference
from app.stats.seasons import HOURS, Seasons, by_hour, rebase
from tests.stats import seasonal

NORMAL, UNSEASONAL = 0, 7


@pytest.fixture(scope="module")
def eight_weeks() -> Seasons:
    return seasonal.learn(np.random.default_rng(1), weeks=8, count=500)


def is_nominal(p: np.ndarray, level: float) -> bool:
    """Over all windows and columns; columns of one window are independent here."""
    return (p < level).mean() <= level + 3 * np.sqrt(level / p.size)


def only(*hours: int) -> np.ndarray:
    return np.bincount(hours, minlength=HOURS)


def test_a_season_without_drift_raises_no_more_alarms_than_nominal(eight_weeks):
    p = seasonal.p_values(np.random.default_rng(2), eight_weeks, weeks=2, count=500)
    assert all(is_nominal(p, level) for level in (0.05, 0.01, 0.001, 0.0001)), [(p < 0.01).mean(axis=0)]
    assert (p < 0.05).mean() > 0.005


def test_a_shift_of_a_third_of_a_deviation_is_found_in_an_hour(eight_weeks):
    p = seasonal.p_values(np.random.default_rng(3), eight_weeks, weeks=1, count=500, shift=0.3)
    assert (p[:, NORMAL] < 1e-4).mean() >= 0.95


def test_a_pooled_reference_would_alarm_almost_always(eight_weeks):
    generator = np.random.default_rng(4)
    pooled = Reference(eight_weeks.pooled)
    windows = [
        observe(eight_weeks.layout, seasonal.rows(generator, hour, 500)) for hour in range(0, HOURS, 4)
    ]
    assert np.mean([compare(pooled, window).p[NORMAL] < 0.01 for window in windows]) > 0.8


@pytest.mark.parametrize(
    "hours", [(7, 8), tuple(range(30, 54)), tuple(range(HOURS))], ids=["two hours", "a day", "a week"]
)
def test_windows_of_several_hours_are_no_exception(eight_weeks, hours):
    generator = np.random.default_rng(5)
    reference = eight_weeks.reference(only(*hours) * 200)
    windows = [
        merge([observe(eight_weeks.layout, seasonal.rows(generator, hour, 200)) for hour in hours])
        for _ in range(12)
    ]
    assert is_nominal(np.array([compare(reference, window).p for window in windows]), 0.01)


def test_hours_are_mixed_as_the_window_covers_them(eight_weeks):
    low, high = (eight_weeks.reference(only(hour)).profile.moments(NORMAL)[0] for hour in (18, 6))
    mixed = eight_weeks.reference(only(18, 6, 6, 6)).profile.moments(NORMAL)[0]
    assert high - low > 1.5
    assert mixed == pytest.approx(0.25 * low + 0.75 * high, abs=0.01)


def test_thin_hours_stay_nominal_and_lean_on_the_others():
    thin = seasonal.learn(np.random.default_rng(6), weeks=3, count=20)
    p = seasonal.p_values(np.random.default_rng(7), thin, weeks=4, count=20)
    assert all(is_nominal(p, level) for level in (0.05, 0.01, 0.001))
    sizes = thin.reference(only(12)).sizes
    assert 2 * sizes[NORMAL] < sizes[UNSEASONAL]


def test_an_hour_unlike_all_others_is_left_alone():
    """A nightly job: one hour of a week differs, and the others, which don't, must not hide it."""
    generator = np.random.default_rng(8)
    layout = Layout((numeric_axis(generator.normal(size=5000)),))
    hours = [
        (hour, observe(layout, [generator.normal(2.0 * (hour == 3), size=300)])) for hour in range(HOURS)
    ]
    seasons = by_hour(hours)
    assert seasons.reference(only(3)).sizes[0] == pytest.approx(300, abs=5)
    assert seasons.reference(only(3)).profile.moments(0)[0] == pytest.approx(2.0, abs=0.2)
    assert seasons.reference(only(4)).sizes[0] > 600


def test_what_the_hour_alone_decides_is_known_of_each():
    """The day of the week as a column: nothing varies within an hour."""
    days = np.arange(HOURS) // 24
    layout = Layout((numeric_axis(days),))
    seasons = by_hour((hour, observe(layout, [np.full(26, float(days[hour]))])) for hour in range(HOURS))
    monday, tuesday = (observe(layout, [np.full(24, day)]) for day in (0.0, 1.0))
    expected = seasons.reference(only(*range(24)))
    assert compare(expected, monday).p[0] > 0.01
    assert compare(expected, tuesday).p[0] < 1e-12


def test_an_hour_never_seen_is_judged_by_how_much_hours_differ():
    generator = np.random.default_rng(9)

    def size(amplitude):
        layout = Layout((numeric_axis(generator.normal(size=5000)),))
        hours = [h for h in range(HOURS) if h != 100]
        rows = {h: generator.normal(amplitude * np.sin(h), size=400) for h in hours}
        return by_hour((h, observe(layout, [rows[h]])) for h in hours).reference(only(100)).sizes[0]

    assert size(amplitude=1.0) < 10
    assert size(amplitude=0.0) > 400


def sampled(generator, layout, hours=range(HOURS), count=60):
    """A reference whose own rows have no times."""
    return merge([observe(layout, seasonal.rows(generator, hour, count)) for hour in hours])


def of_stream(generator, layout, *, weeks=2, count=500, shift=0.0):
    """What the weeks of a stream looked like."""
    hours = [hour for _ in range(weeks) for hour in range(HOURS)]
    return by_hour((hour, observe(layout, seasonal.rows(generator, hour, count, shift))) for hour in hours)


def test_the_shape_of_weeks_at_the_level_of_a_reference_is_nominal():
    generator = np.random.default_rng(21)
    layout = seasonal.axes(generator, 60)
    learnt = rebase(of_stream(generator, layout), sampled(generator, layout))
    p = seasonal.p_values(generator, learnt, weeks=1, count=500)
    assert all(is_nominal(p, level) for level in (0.05, 0.01, 0.001)), [(p < 0.01).mean(axis=0)]


def test_what_had_drifted_before_the_week_was_learnt_is_not_learnt():
    generator = np.random.default_rng(22)
    layout = seasonal.axes(generator, 60)
    learnt = rebase(of_stream(generator, layout, shift=0.5), sampled(generator, layout))
    p = seasonal.p_values(generator, learnt, weeks=1, count=500, shift=0.5)
    assert (p[:, NORMAL] < 1e-4).mean() >= 0.9
    assert is_nominal(np.delete(p, NORMAL, axis=1), 0.01)


def test_a_reference_of_a_few_hours_says_what_to_expect_of_the_others():
    generator = np.random.default_rng(23)
    layout = seasonal.axes(generator, 60)
    night = sampled(generator, layout, hours=(18, 19, 20), count=2000)
    learnt = rebase(of_stream(generator, layout), night, only(18, 19, 20) * 2000)
    p = seasonal.p_values(generator, learnt, weeks=1, count=500)
    assert is_nominal(p, 0.01), [(p < 0.01).mean(axis=0)]
    with pytest.raises(ValueError, match="no hour that the reference covers"):
        rebase(of_stream(generator, layout, weeks=1, count=5), night, np.zeros(HOURS))
    with pytest.raises(ValueError, match="axes"):
        rebase(
            of_stream(generator, layout, weeks=1, count=5),
            observe(Layout((numeric_axis([1.0]),)), [np.ones(3)]),
        )


def test_constant_and_empty_columns_say_nothing():
    layout = Layout((numeric_axis([3.0] * 10), numeric_axis([1.0, 2.0])))
    columns = [np.full(50, 3.0), np.full(50, np.nan)]
    seasons = by_hour((hour, observe(layout, columns)) for hour in range(HOURS))
    answer = compare(seasons.reference(only(5)), observe(layout, columns))
    assert answer.p.tolist() == [1.0, 1.0]


def test_what_the_axis_did_not_know_but_the_reference_does_is_no_surprise():
    """Labels and extremes beyond a short first sample, in a reference of a hundred times as many rows."""
    generator = np.random.default_rng(10)

    def drawn(count):
        return [list(map(str, generator.zipf(1.5, count))), generator.normal(size=count)]

    labels, numbers = drawn(300)
    layout = Layout((category_axis(labels), numeric_axis(numbers)))
    reference = Reference(observe(layout, drawn(30_000)))
    p = np.array([compare(reference, observe(layout, drawn(2000))).p for _ in range(60)])
    assert is_nominal(p, 0.01)
    strangers = [[f"new {label}" for label in drawn(200)[0]], generator.normal(9.0, size=200)]
    assert (compare(reference, observe(layout, strangers)).p < 1e-12).all()


def test_only_hours_of_the_week_and_windows_with_rows_are_taken(eight_weeks):
    empty = Profile.empty(eight_weeks.layout)
    for hour in (-1, HOURS):
        with pytest.raises(ValueError, match="no hour of the week"):
            by_hour([(hour, empty)])
    with pytest.raises(ValueError, match="nothing to merge"):
        by_hour([])
    for rows in (np.zeros(HOURS), np.ones(24), -np.ones(HOURS)):
        with pytest.raises(ValueError, match="has rows in some"):
            eight_weeks.reference(rows)
