"""M7: the whole life of a monitor without labels, reduced; `simulate_estimates` is the full program."""

import numpy as np
import pytest

from app.stats.calibration import calibrate
from app.stats.estimated import expect, expected_accuracy
from tests.stats.simulate_estimates import false_alarms, power


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["timid, hardly to be told", "five classes, timid", "regression, a rare group", "regression, bursts"],
)
def test_hardly_any_version_at_the_limit_is_ever_told_to_have_fallen(name):
    """With 2.5 % of lives false at most, four of thirty have a chance of .6 %."""
    assert len(false_alarms(31, name, streams=30, looks=2)) < 4


def test_twice_the_loss_that_is_too_much_is_found_in_one_look():
    assert power(32, "calibrated", streams=10, loss=0.3, size=1000) >= 0.5


def test_the_interval_of_probabilities_that_nothing_contradicts_lies_around_what_labels_say():
    generator, held, alone = np.random.default_rng(33), [], []
    for _ in range(150):
        odds = generator.normal(scale=4, size=960)
        fitted = calibrate(_probable(0.75 * odds), generator.random(960) < _probable(odds))
        odds = generator.normal(scale=2, size=20_000)
        told = expected_accuracy(expect([fitted], _probable(0.75 * odds), odds > 0), 0.05)
        held.append(told.low <= np.mean(_probable(np.abs(odds))) <= told.high)
        alone.append(fitted.is_identity)
    assert np.mean(alone) > 0.3
    assert np.mean(held) >= 0.91


def _probable(odds):
    return 1 / (1 + np.exp(-odds))
