"""M6: errors that come in bursts raise no false alarms, and independent ones are judged as before."""

import numpy as np
import pytest

from app.stats.confusion import Confusion, accuracy
from app.stats.dependence import Dependence
from app.stats.error_sums import Error, error_of, sum_errors
from app.stats.loss_dependence import LossSums, loss_effect, of_loss_buckets, of_loss_rows
from app.stats.score_counts import PROBABILITY_EDGES, count_scores, roc_auc
from tests.stats.simulate_losses import bursts, delays, false_alarms


def sums_of(losses, size):
    return [LossSums(size, float(part.sum()), float((part**2).sum())) for part in losses.reshape(-1, size)]


@pytest.mark.parametrize(("phi", "effect"), [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)])
def test_both_sources_find_the_design_effect_of_bursts(phi, effect):
    losses = bursts(np.random.default_rng(3), 60_000, 0.2, phi)
    assert of_loss_rows([losses]).effects[0] == pytest.approx(effect, rel=0.2)
    assert of_loss_buckets([sums_of(losses, 200)]).effects[0] == pytest.approx(effect, rel=0.2)


def test_buckets_of_few_labels_are_put_together_as_their_bursts_reach_over_many():
    losses = bursts(np.random.default_rng(3), 60_000, 0.2, 0.5)
    assert of_loss_buckets([sums_of(losses, 2)]).effects[0] == pytest.approx(3.0, rel=0.25)


def test_the_kind_of_loss_that_shows_the_most_speaks():
    generator = np.random.default_rng(4)
    volatile = np.repeat(generator.lognormal(sigma=1.0, size=500), 8) * generator.normal(size=4000)
    sizes = np.abs(volatile)
    one, other = of_loss_rows([sizes]).effects[0], of_loss_rows([sizes**2]).effects[0]
    assert of_loss_rows([sizes, sizes**2]).effects[0] == max(one, other) > 2


def test_few_buckets_and_none_say_nothing():
    losses = bursts(np.random.default_rng(3), 600, 0.2, 0.5)
    assert of_loss_buckets([sums_of(losses, 60)]).freedom[0] == 0
    assert of_loss_buckets([]).freedom[0] == 0


def test_where_the_log_is_gone_an_upper_bound_of_the_buckets_speaks():
    silent, buckets = (Dependence(np.array([1.0]), np.array([freedom])) for freedom in (0.0, 50.0))
    assert 1.2 < loss_effect(silent, buckets) < 1.5


def test_thinned_sums_tell_the_same_with_the_width_of_fewer_rows():
    generator = np.random.default_rng(5)
    confusion = Confusion(("no", "yes"), np.array([[500, 50], [50, 400]]))
    truth = generator.random(1000) < 0.3
    scores = count_scores(PROBABILITY_EDGES, np.clip(generator.random(1000) + 0.2 * truth, 0.01, 0.99), truth)
    errors = sum_errors(truth, generator.normal(size=1000))
    pairs = [
        (accuracy(confusion, 0.05), accuracy(confusion.thinned(4.0), 0.05)),
        (roc_auc(scores, 0.05).estimate, roc_auc(scores.thinned(4.0), 0.05).estimate),
        (error_of(errors, Error.MAE, 0.05), error_of(errors.thinned(4.0), Error.MAE, 0.05)),
        (error_of(errors, Error.R2, 0.05), error_of(errors.thinned(4.0), Error.R2, 0.05)),
    ]
    for whole, thin in pairs:
        assert thin.value == pytest.approx(whole.value, abs=1e-5)
        assert (thin.high - thin.low) / (whole.high - whole.low) == pytest.approx(2.0, rel=0.05)
        assert thin.rows == whole.rows // 4


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_hardly_any_life_of_a_version_at_the_limit_ends_in_a_false_alarm(phi):
    """With 5 % of lives false at most, six of forty have a chance of 1 %; while each row counted, 35 of 40 were at .5."""
    assert false_alarms(11, streams=40, looks=300, phi=phi) < 6


def test_without_the_design_effect_bursts_would_raise_them():
    assert false_alarms(11, streams=10, looks=300, independent=True) > 5


def test_a_fall_of_independent_rows_is_found_about_as_soon_as_if_each_were_known_to_count():
    for wrong in (0.35, 0.5):
        now, ideal = (
            np.median(delays(7, streams=20, wrong=wrong, independent=independent))
            for independent in (False, True)
        )
        assert now <= 2 * ideal


def test_dependence_has_no_unit():
    losses = np.repeat(np.random.default_rng(3).exponential(size=500), 4)
    metres, nanometres = (of_loss_rows([losses * unit, (losses * unit) ** 2]) for unit in (1.0, 1e-9))
    assert nanometres.effects[0] == pytest.approx(metres.effects[0])
    assert metres.effects[0] > 2.5
