"""M10: change points of level and volatility: as few false ones as promised, real ones soon, and state that can be stored."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.stats.regimes import WARM_UP, Level, Volatility, Watch, describe, ended, follow
from app.stats.spread import KEPT, LATEST
from tests.stats.simulate_regimes import CHANGES, SERIES, delay, mean_run


def followed(values, watch=None):
    watch = watch or Watch()
    for value in values:
        watch = follow(watch, float(value))
    return watch


@pytest.mark.parametrize(
    ("series", "least"),
    [(name, 140 if name == "AR(1) .9" else 300) for name in SERIES],
    ids=list(SERIES),
)
def test_false_alarms_are_as_rare_as_promised(series, least):
    """Sixteen are due; the least allows for 26, and for twice as many where values depend much on the last."""
    promised = 500.0
    assert mean_run(SERIES[series], np.random.default_rng(1), 8000, promised) >= least


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("level + 0.5 sd", 90),
        ("level + 1 sd", 28),
        ("level - 2 sd", 9),
        ("volatility x 2", 30),
        ("volatility / 2", 40),
    ],
)
def test_changes_are_found_soon_and_dated_well(change, values):
    generator = np.random.default_rng(2)
    found = np.array([delay(CHANGES[change], generator, before=600) for _ in range(15)])
    assert np.median(found[:, 0]) <= values
    assert np.median(np.abs(found[:, 1])) <= 15


def test_a_constant_series_is_silent_until_it_is_another():
    watch = followed([5.0] * 3000)
    assert watch.changes == 0
    regime = describe(watch)
    assert (regime.level, regime.volatility, regime.mean, regime.deviation) == (
        Level.USUAL,
        Volatility.USUAL,
        5.0,
        0.0,
    )
    watch = followed([6.0] * 60, watch)
    assert (watch.changes, watch.since) == (1, 3000)


def test_outliers_make_no_regime():
    generator = np.random.default_rng(3)
    values = generator.normal(size=3000)
    values[::100] = 1e6
    watch = followed(values)
    assert watch.changes == 0
    assert describe(watch).mean == pytest.approx(0.0, abs=0.3)
    assert describe(watch).deviation < 1.5


def test_what_is_not_finite_is_skipped_but_keeps_its_place():
    generator = np.random.default_rng(4)
    values = np.concatenate([generator.normal(size=300), generator.normal(4.0, size=50)])
    with_gaps = np.insert(values, [10, 20, 20], [np.nan, np.inf, -1e300])
    plain, gaps = followed(values), followed(with_gaps)
    assert (plain.changes, gaps.changes) == (1, 1)
    assert plain.since == pytest.approx(300, abs=2)
    assert gaps.since == plain.since + 3


def test_a_regime_is_named_in_the_terms_of_the_long_run():
    generator = np.random.default_rng(5)
    watch = followed(generator.normal(size=800))
    assert (describe(watch).level, describe(watch).volatility) == (Level.USUAL, Volatility.USUAL)
    watch = followed(generator.normal(-3.0, size=100), watch)
    assert (describe(watch).level, describe(watch).volatility) == (Level.LOW, Volatility.USUAL)
    watch = followed(generator.normal(scale=4.0, size=100), watch)
    assert describe(watch).volatility is Volatility.TURBULENT
    watch = followed(generator.normal(scale=0.2, size=100), watch)
    assert describe(watch).volatility is Volatility.CALM
    watch = followed(generator.normal(5.0, scale=0.2, size=100), watch)
    assert describe(watch).level is Level.HIGH


def test_a_stored_watch_goes_on_as_if_it_had_never_stopped():
    generator = np.random.default_rng(6)
    values = np.concatenate([generator.normal(size=150), generator.normal(2.0, size=100)])
    whole, stored = Watch(), Watch()
    for value in values:
        whole = follow(whole, value)
        stored = Watch.from_json(json.loads(json.dumps(follow(stored, value).as_json(), allow_nan=False)))
    assert whole.changes == 1
    assert stored.as_json() == whole.as_json()


def test_memory_stays_bounded_and_spreads_over_the_whole_regime():
    watch = followed(np.random.default_rng(7).normal(size=3 * KEPT))
    for sample in (watch.regime, watch.life):
        assert len(sample.values) <= KEPT
        assert sample.places[0] == 0
        assert sample.places[-1] > 3 * KEPT - 8
    assert len(json.dumps(watch.as_json())) < 100_000


def changes_of(values, mean_run=100.0):
    """The watches just before and just after each change that is found."""
    found, watch = [], Watch(mean_run=mean_run)
    for value in values:
        before, watch = watch, follow(watch, float(value))
        if watch.changes > before.changes:
            found.append((before, watch))
    return found


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_regime_that_has_just_begun_has_all_of_its_values_however_long_the_one_before(seed):
    """Rare ones make changes of a few values; where the sample had one value in eight it had none of those."""
    values = (np.random.default_rng(seed).random(6000) < 0.03) * 1.0
    found = changes_of(values)
    assert found
    for _, watch in found:
        assert watch.regime.values == tuple(values[watch.since : watch.place])
        assert describe(watch).values == watch.place - watch.since


def test_a_turn_further_back_than_the_latest_values_has_those_that_were_kept():
    generator = np.random.default_rng(8)
    long = followed(generator.normal(size=20 * KEPT), Watch(mean_run=1e6))
    slow = changes_of_on(long, generator.normal(0.2, size=4000))
    assert slow.place - slow.since > LATEST
    assert len(slow.regime.values) > LATEST
    assert slow.regime.places[0] >= slow.since
    assert slow.regime.count == pytest.approx(slow.place - slow.since, abs=long.regime.stride)


def changes_of_on(watch, values):
    changes = watch.changes
    for value in values:
        watch = follow(watch, float(value))
        if watch.changes > changes:
            return watch
    raise AssertionError("no change was found")


VALUES = st.sampled_from([0.0, 1.0, -1.0, 1e100, -1e100, 1e-300, 5e-324, 0.1, np.nan, 1e101])
STRETCHES = st.tuples(st.lists(VALUES, min_size=1, max_size=4), st.integers(1, 120))


@settings(max_examples=40, deadline=None)
@given(st.lists(STRETCHES, min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_any_series_of_few_values_is_in_a_regime_that_can_be_told_and_stored(stretches, seed):
    """Constant, then changed, ties, huge and tiny numbers, gaps."""
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.choice(alphabet, size) for alphabet, size in stretches])
    for before, after in changes_of(values):
        for regime in (describe(ended(before, after.since)), describe(after)):
            assert np.isfinite([regime.mean, regime.deviation]).all()
            assert regime.values >= 1
        assert before.since < after.since < after.place
        assert (
            Watch.from_json(json.loads(json.dumps(after.as_json(), allow_nan=False))).regime == after.regime
        )


def test_a_regime_that_has_ended_is_told_by_its_own_values():
    values = np.r_[np.random.default_rng(9).normal(size=60), np.full(40, 8.0)]
    [(before, after), *_] = changes_of(values, 10_000.0)
    assert after.since == 60
    assert describe(ended(before, after.since)).mean == pytest.approx(values[:60].mean(), abs=0.1)
    assert describe(ended(before, after.since)).values == 60


def test_a_watch_stored_without_its_latest_values_goes_on():
    stored = followed(np.random.default_rng(10).normal(size=3000)).as_json()
    del stored["latest"]
    watch = followed(np.full(60, 9.0), Watch.from_json(json.loads(json.dumps(stored))))
    assert watch.changes == 1
    assert watch.since == pytest.approx(3000, abs=10)


def test_a_short_regime_waits_until_it_is_known():
    watch = followed(np.r_[np.zeros(WARM_UP - 1), 100.0])
    assert (watch.changes, set(watch.walks)) == (0, {0.0})


def test_what_is_undefined_is_refused():
    with pytest.raises(ValueError, match="no regime"):
        describe(follow(Watch(), np.nan))
    with pytest.raises(ValueError, match="mean run"):
        follow(replace(Watch(), mean_run=5.0), 1.0)
