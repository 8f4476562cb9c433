"""M9: dependent rows: the design effects that keep the drift tests nominal, and what they cost where rows are independent."""

import numpy as np
import pytest
from scipy.signal import lfilter

from app.stats.axes import category_axis, numeric_axis
from app.stats.dependence import SUSPECTED, Dependence, cautious_effects, design_effects, of_buckets
from app.stats.drift import compare
from app.stats.profile import Layout, observe
from app.stats.reference import Reference
from app.stats.row_dependence import bounds_of_own, of_rows

COLUMNS, ROWS, WINDOW = 20, 10_000, 500


def autoregressive(generator, count, phi=0.5):
    noise = generator.normal(scale=np.sqrt(1 - phi**2), size=count + 100)
    return lfilter([1.0], [1.0, -phi], noise)[100:]


def independent(generator, count):
    return generator.normal(size=count)


def began(draw, generator, rows=ROWS):
    """A reference of twenty columns, and its rows."""
    columns = [draw(generator, rows) for _ in range(COLUMNS)]
    return Reference(observe(Layout(tuple(map(numeric_axis, columns))), columns)), columns


def windows(reference, draw, generator, count, shift=0.0):
    return [
        observe(reference.layout, [draw(generator, WINDOW) + shift for _ in range(COLUMNS)])
        for _ in range(count)
    ]


def rates(reference, profiles, effects, level):
    return np.mean([compare(reference, each, design_effects=effects).p < level for each in profiles])


def known(effect, freedom):
    return Dependence(np.full(COLUMNS, effect), np.full(COLUMNS, freedom))


@pytest.mark.parametrize("level", [0.05, 0.01, 0.001])
def test_an_autoregressive_stream_keeps_its_rate_of_false_alarms(level):
    generator = np.random.default_rng(1)
    reference, columns = began(autoregressive, generator)
    profiles = windows(reference, autoregressive, generator, 150)
    limit = level + 3 * np.sqrt(level / (150 * COLUMNS))
    assert rates(reference, profiles, 1.0, level) > 2 * limit
    assert rates(reference, profiles, design_effects(of_rows(reference, columns)), level) <= limit
    assert rates(reference, profiles, of_buckets(reference, profiles).at_most().clip(1.0), level) <= limit


@pytest.mark.parametrize("buckets", [0, 4, 16, 64, 256])
def test_independent_columns_lose_hardly_any_power(buckets):
    generator = np.random.default_rng(2)
    reference, columns = began(independent, generator)
    seen = of_buckets(reference, windows(reference, independent, generator, buckets)) if buckets else None
    effects = design_effects(of_rows(reference, columns), seen)
    moved = windows(reference, independent, generator, 60, shift=0.25)
    plain = rates(reference, moved, 1.0, 1e-4)
    assert 0.7 < plain < 0.95
    assert rates(reference, moved, effects, 1e-4) >= plain - 0.05


def test_a_shuffled_reference_is_contradicted_by_buckets():
    generator = np.random.default_rng(3)
    reference, columns = began(autoregressive, generator)
    shuffled = of_rows(reference, [generator.permutation(column) for column in columns])
    assert design_effects(shuffled) == pytest.approx(1.0, abs=0.15)
    profiles = windows(reference, autoregressive, generator, 128)
    assert 3.0 < np.median(design_effects(shuffled, of_buckets(reference, profiles))) < 4.5


def test_where_the_order_is_unknown_only_buckets_speak():
    generator = np.random.default_rng(10)
    reference, _ = began(autoregressive, generator)
    profiles = windows(reference, autoregressive, generator, 160)
    effects = design_effects(None, of_buckets(reference, profiles[:10]))
    assert rates(reference, profiles[10:], effects, 0.001) <= 0.004
    with pytest.raises(ValueError, match="nothing is known"):
        design_effects(None)


def test_what_may_be_shuffled_is_believed_where_it_shows_dependence():
    generator = np.random.default_rng(12)
    reference, columns = began(autoregressive, generator)
    shuffled = of_rows(reference, [generator.permutation(column) for column in columns])
    assert (cautious_effects(shuffled) == SUSPECTED).all()
    assert cautious_effects(of_rows(reference, columns)) == pytest.approx(3.2, abs=0.8)
    profiles = windows(reference, autoregressive, generator, 160)
    effects = cautious_effects(shuffled, of_buckets(reference, profiles[:10]))
    assert rates(reference, profiles[10:], effects, 0.001) <= 0.004


@pytest.mark.parametrize("phi", [0.5, 0.8, 0.9, 0.95])
def test_windows_that_are_judged_by_their_own_rows_raise_no_more_alarms_than_allowed(phi):
    """At a thousandth of each; however many autoregressive streams would prove, were their rows independent."""
    generator = np.random.default_rng(13)

    def draw(generator, count):
        return autoregressive(generator, count, phi)

    reference, _ = began(draw, generator)
    plain, judged = [], []
    for _ in range(60):
        rows = [draw(generator, WINDOW) for _ in range(COLUMNS)]
        window = observe(reference.layout, rows)
        plain.append(compare(reference, window).p < 0.001)
        judged.append(compare(reference, window, design_effects=bounds_of_own(reference, rows)).p < 0.001)
    assert np.mean(plain) > 0.03
    assert np.sum(judged) <= 5


def test_independent_rows_of_a_window_cost_it_little():
    generator = np.random.default_rng(14)
    reference, _ = began(independent, generator)
    for count, most in ((100, 6.0), (500, 2.6), (2000, 1.4)):
        rows = [independent(generator, count) + 0.3 for _ in range(COLUMNS)]
        assert 1.0 < np.median(bounds_of_own(reference, rows)) < most


def test_slow_and_slight_dependence_shows_in_the_means_of_batches():
    """A tenth of the variance that takes a hundred rows to fade raises that of a mean tenfold; lags alone show a third."""
    generator = np.random.default_rng(15)

    def draw(generator, count):
        return np.sqrt(0.9) * independent(generator, count) + np.sqrt(0.1) * autoregressive(
            generator, count, 0.98
        )

    reference, _ = began(draw, generator)
    bounds = [bounds_of_own(reference, [draw(generator, WINDOW) for _ in range(COLUMNS)]) for _ in range(20)]
    assert np.median(bounds) > 4


def test_own_rows_are_believed_as_far_as_they_were_read_and_until_buckets_show_more():
    silent, own = known(1.0, 5000.0), np.where(np.arange(COLUMNS) < 10, 1.5, 0.0)
    whole, part = (cautious_effects(silent, own=own, read=read) for read in (1.0, 0.5))
    assert whole.tolist() == [1.5] * 10 + [SUSPECTED] * 10
    assert part.tolist() == [3.0] * 10 + [SUSPECTED] * 10
    slow = known(12.0, 6.0)
    assert cautious_effects(silent, slow, own).tolist() == slow.at_most().tolist()
    calm = known(1.1, 6.0)
    assert cautious_effects(silent, calm, own).tolist() == [1.5] * 10 + calm.at_most()[10:].tolist()
    dependent = known(4.0, 500.0)
    assert (cautious_effects(dependent, own=own) > 4).all()


def test_both_sources_find_the_effect_of_an_autoregression():
    """(1 + φ) / (1 - φ), for φ = .8: 9."""
    generator = np.random.default_rng(4)

    def draw(generator, count):
        return autoregressive(generator, count, phi=0.8)

    reference, columns = began(draw, generator)
    assert np.mean(of_rows(reference, columns).effects) == pytest.approx(9.0, abs=1.0)
    buckets = of_buckets(reference, windows(reference, draw, generator, 200))
    assert np.mean(buckets.effects) == pytest.approx(9.0, abs=1.0)


def test_clustered_volatility_is_dependence_too():
    generator = np.random.default_rng(5)

    def draw(generator, count):
        return generator.normal(size=count) * np.exp(autoregressive(generator, count, phi=0.95))

    reference, columns = began(draw, generator)
    assert (of_rows(reference, columns).effects > 4).all()
    assert np.median(of_buckets(reference, windows(reference, draw, generator, 100)).effects) > 4


def test_jumps_and_slow_drift_are_no_dependence():
    generator = np.random.default_rng(6)
    reference, _ = began(independent, generator)
    drifting = [
        each for i in range(100) for each in windows(reference, independent, generator, 1, shift=0.01 * i)
    ]
    jumping = windows(reference, independent, generator, 50) + windows(
        reference, independent, generator, 50, shift=1.0
    )
    for profiles in (drifting, jumping):
        assert np.mean(of_buckets(reference, profiles).effects) == pytest.approx(1.1, abs=0.15)


def test_the_hours_of_a_day_are_no_dependence_of_buckets():
    generator = np.random.default_rng(7)
    reference, _ = began(independent, generator)
    hours = [
        each
        for i in range(240)
        for each in windows(reference, independent, generator, 1, np.sin(i * np.pi / 12))
    ]
    assert np.mean(of_buckets(reference, hours).effects) == pytest.approx(1.1, abs=0.25)


def test_the_hours_of_a_week_are_no_dependence_of_rows_that_are_held_against_them():
    generator = np.random.default_rng(11)
    hours = np.repeat(np.arange(8 * 168) % 168, 4)

    def draw(generator, count):
        return np.sin(2 * np.pi * np.resize(hours, count) / 24) + generator.normal(scale=0.5, size=count)

    reference, columns = began(draw, generator, rows=len(hours))
    assert np.mean(of_rows(reference, columns).effects) > 5
    assert np.mean(of_rows(reference, columns, hours).effects) == pytest.approx(1.0, abs=0.1)


def test_labels_that_come_in_runs_count_for_less():
    generator = np.random.default_rng(8)
    runs = [str(x) for x in np.repeat(generator.integers(0, 6, 2500), 4)]
    mixed = [*generator.permutation(runs).tolist(), None]
    layout = Layout((category_axis(runs), category_axis(mixed[:-1])))
    found = of_rows(Reference(observe(layout, [runs, mixed[:-1]])), [runs, mixed])
    assert found.effects == pytest.approx([4.0, 1.0], abs=0.3)


def test_what_is_constant_or_missing_or_short_says_nothing():
    columns = [np.full(1000, 3.0), np.full(1000, np.nan), np.r_[np.arange(20.0), np.full(980, np.nan)]]
    layout = Layout((numeric_axis(columns[0]), numeric_axis([1.0]), numeric_axis(np.arange(20.0))))
    profile = observe(layout, columns)
    reference = Reference(profile)
    rows, buckets = of_rows(reference, columns), of_buckets(reference, [profile] * 3)
    assert rows.freedom.tolist() == [0.0, 0.0, 0.0]
    assert bounds_of_own(reference, columns).tolist() == [0.0, 0.0, 0.0]
    assert design_effects(rows).tolist() == design_effects(rows, buckets).tolist() == [1.0, 1.0, 1.0]


def test_the_bound_comes_down_to_the_estimate():
    bounds = [design_effects(known(1.0, 5000.0), known(3.0, freedom))[0] for freedom in (20.0, 100.0, 1e4)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(3.0, abs=0.1)
    assert known(3.0, 0.0).at_most()[0] == 3.0
    assert known(3.0, 0.0).at_least()[0] == 0.0


def test_buckets_and_columns_must_be_there():
    reference, columns = began(independent, np.random.default_rng(9), rows=100)
    with pytest.raises(ValueError, match="in a row"):
        of_buckets(reference, [reference.profile] * 2)
    with pytest.raises(ValueError, match="columns for"):
        of_rows(reference, columns[1:])
