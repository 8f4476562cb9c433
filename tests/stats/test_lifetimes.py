"""The whole life of a monitor of fifty mixed columns, reduced; `simulate_lifetimes` is the full program."""

import numpy as np
import pytest

from tests.stats.simulate_lifetimes import delays, false_alarms, upper_limit


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_hardly_any_monitor_ever_cries_wolf(shuffled):
    """With 5 % at most of all lives false, two of eight have a chance of 5 %, three of 0.6 %."""
    alarmed, culprits = false_alarms(seed=101, streams=8, looks=64, shuffled=shuffled)
    assert alarmed.sum() <= 2, culprits


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(
    ("sds", "windows", "rows"),
    [(0.3, 1, 10_000), (0.1, 4, 10_000), pytest.param(0.05, 48, 100_000, marks=pytest.mark.slow)],
)
def test_a_change_of_five_columns_is_found_in_few_windows(sds, windows, rows, shuffled):
    found = delays(seed=102, streams=3, sds=sds, looks=windows, rows=rows, shuffled=shuffled)
    assert np.median(found) <= windows


def test_the_limit_of_no_events_is_the_rule_of_three():
    assert upper_limit(0, 400) == pytest.approx(3 / 400, rel=0.01)
    assert upper_limit(3, 3) == 1.0
