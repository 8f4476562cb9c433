"""M7: performance estimated while labels are late: better than the constant, and honest about what it can't see."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from app.stats.calibration import Calibration, calibrate, correct, fit_isotonic
from app.stats.confusion import Score
from app.stats.estimated import ASSUMPTION, expect, expected_accuracy, expected_auc, expected_score
from app.stats.estimated_loss import contributions, correct_loss, expected_loss, fit_loss, shares_of
from app.stats.intervals import TooLittleData
from tests.stats.covariate_shift import SETTINGS, SHIFTS, classification, classified, regression

AS_IS = Calibration(np.array([]), np.array([0.5]), np.array([1e6]), is_identity=True)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_estimated_accuracy_under_covariate_shift_is_right_and_never_worse_than_the_constant(setting):
    """Every window has a reference of its own; `python -m tests.stats.covariate_shift` prints all."""
    told = [classification(setting, shift, 15) for shift in SHIFTS]
    assert np.mean([each.estimated for each in told]) <= 0.010
    assert all(each.estimated <= each.constant + 0.0015 for each in told), told
    assert np.mean([each.covered for each in told]) >= 0.88


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_estimated_errors_of_a_regression_are_nearer_than_the_constant(shift):
    told = regression(shift, 10)
    assert told.estimated <= min(0.03, told.constant + 0.002)


def test_pooling_is_that_of_scikit_learn():
    generator = np.random.default_rng(1)
    scores = generator.random(2000).round(2)
    truth = generator.random(2000) < scores**2
    theirs = IsotonicRegression().fit(scores, truth)
    fitted = fit_isotonic(scores, truth)
    assert fitted.apply(scores) == pytest.approx(theirs.predict(scores))
    assert fitted.rows.sum() == 2000
    assert len(fitted.starts) + 1 == len(fitted.chances)


def test_a_calibrated_model_is_left_alone():
    """At the stated rate it is not; whether it is or not, chances stay near."""
    generator = np.random.default_rng(2)
    kept = []
    for _ in range(100):
        scores = generator.random(2000)
        calibration = calibrate(scores, generator.random(2000) < scores)
        kept.append(calibration.is_identity)
        assert np.abs(calibration.apply(scores) - scores).mean() < 0.05
    assert np.mean(kept) >= 0.88


@pytest.fixture(scope="module")
def window():
    return classified(np.random.default_rng(3), SETTINGS[0], 40_000, 0.5)


def test_every_score_is_what_the_labels_show(window):
    scores, truth = window
    guess = scores > 0.5
    expected = expect([AS_IS], scores, guess)
    shown = {
        Score.PRECISION: metrics.precision_score(truth, guess),
        Score.RECALL: metrics.recall_score(truth, guess),
        Score.F1: metrics.f1_score(truth, guess),
    }
    assert expected_accuracy(expected, 0.05).value == pytest.approx(np.mean(guess == truth), abs=0.006)
    assert expected_auc(expected, 0.05).value == pytest.approx(
        metrics.roc_auc_score(truth, scores), abs=0.006
    )
    for score, value in shown.items():
        assert expected_score(expected, score, [0, 1], 0.05).value == pytest.approx(value, abs=0.006)
    macro = expected_score(expected, Score.F1, [0.5, 0.5], 0.05)
    assert macro.value == pytest.approx(metrics.f1_score(truth, guess, average="macro"), abs=0.006)


def test_intervals_hold_what_the_labels_show():
    generator, held = np.random.default_rng(4), []
    for _ in range(200):
        scores, truth = classified(generator, SETTINGS[0], 800, 0.5)
        guess = scores > 0.5
        expected = expect([AS_IS], scores, guess)
        told = [
            (expected_auc(expected, 0.05), metrics.roc_auc_score(truth, scores)),
            (expected_score(expected, Score.F1, [0, 1], 0.05), metrics.f1_score(truth, guess)),
            (expected_score(expected, Score.RECALL, [0, 1], 0.05), metrics.recall_score(truth, guess)),
        ]
        held.append([each.low <= real <= each.high for each, real in told])
    assert (np.mean(held, axis=0) >= 0.91).all()
    assert (np.mean(held, axis=0) <= 0.99).all()


def test_a_histogram_of_scores_is_as_good_as_the_rows(window):
    scores, _ = window
    edges = np.linspace(0, 1, 1001)
    counts, _ = np.histogram(scores, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    by_bins = expect([AS_IS], middles, middles > 0.5, counts)
    by_rows = expect([AS_IS], scores, scores > 0.5)
    for ask in (expected_accuracy, expected_auc):
        few, many = ask(by_bins, 0.05), ask(by_rows, 0.05)
        assert (few.value, few.low, few.high) == pytest.approx((many.value, many.low, many.high), abs=5e-4)


def test_three_classes():
    generator = np.random.default_rng(5)

    def drawn(rows):
        odds = generator.normal(size=(rows, 3)) + generator.normal(0, 0.5, (rows, 1))
        chances = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        truth = (chances.cumsum(axis=1) < generator.random((rows, 1))).sum(axis=1)
        sharp = chances**2 / (chances**2).sum(axis=1, keepdims=True)  # overconfident
        return sharp, truth

    scores, truth = drawn(20_000)
    calibrations = [calibrate(scores[:, k], truth == k) for k in range(3)]
    scores, truth = drawn(20_000)
    guess = scores.argmax(axis=1)
    expected = expect(calibrations, scores, guess)
    told = expected_accuracy(expected, 0.01)
    assert told.low <= np.mean(guess == truth) <= told.high
    assert expected.confusion.sum() == pytest.approx(20_000)
    assert expected_score(expected, Score.F1, [1 / 3] * 3, 0.05).value == pytest.approx(
        metrics.f1_score(truth, guess, average="macro"), abs=0.015
    )
    with pytest.raises(ValueError, match="two classes"):
        expected_auc(expected, 0.05)


def test_labels_that_arrive_correct_what_concept_drift_broke():
    generator = np.random.default_rng(6)
    scores = generator.random(10_000)
    truth = generator.random(10_000) < 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) - 2)))
    guess, labelled = scores > 0.5, slice(0, 300)
    real = np.mean(guess == truth)
    blind = expected_accuracy(expect([AS_IS], scores, guess), 0.05)
    told = expected_accuracy(expect([correct(AS_IS, scores[labelled], truth[labelled])], scores, guess), 0.05)
    assert abs(blind.value - real) > 0.05
    assert "Concept drift is invisible" in ASSUMPTION
    assert abs(told.value - real) < abs(blind.value - real) / 2
    assert told.low <= real <= told.high
    assert correct(AS_IS, [], []) is AS_IS


def test_what_can_not_be_estimated_is_refused():
    few = [0.5] * 30
    for ask, problem in [
        (lambda: expect([AS_IS], [0.5] * 19, [1] * 19), "19"),
        (lambda: expect([AS_IS], few, [2] * 30), "a class"),
        (lambda: expect([AS_IS], np.full((30, 2), 0.5), [1] * 30), "calibrations"),
        (lambda: expect([AS_IS], [np.nan] * 30, [1] * 30), "finite"),
        (lambda: expect([AS_IS], [1.5] * 30, [1] * 30), "between 0 and 1"),
        (lambda: expect([AS_IS, AS_IS], np.full((30, 2), 0.5), [1] * 30), "the same rows"),
        (lambda: expected_score(expect([AS_IS], few, [1] * 30), Score.F1, [1], 0.05), "each class"),
        (lambda: expected_score(expect([AS_IS], few, [1] * 30), Score.F1, [0, 1], 0.05), "class 1"),
        (
            lambda: expected_score(expect([AS_IS], few * 9, [1] * 270), Score.PRECISION, [1, 0], 0.05),
            "predicted",
        ),
        (lambda: expected_auc(expect([AS_IS], [0.1] * 30, [1] * 30), 0.05), "positive"),
        (lambda: expected_auc(expect([AS_IS], [0.9] * 30, [1] * 30), 0.05), "negative"),
        (lambda: fit_isotonic(few, [True] * 30), "negative"),
        (lambda: fit_isotonic(few, [True] * 29), "each score"),
        (lambda: correct(AS_IS, few, [True]), "each score"),
        (lambda: calibrate([1.5] * 60, [True, False] * 30), "between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=problem):
            ask()


def test_direct_loss_estimation_is_additive_and_shares_out_the_change():
    generator = np.random.default_rng(7)

    def drawn(rows, chance):
        first = (generator.random(rows) < chance).astype(int)
        twin = np.where(generator.random(rows) < 0.9, first, 1 - first)
        codes = np.stack([first, twin, generator.integers(0, 5, rows)], axis=1)
        return codes, 1 + 2 * first + generator.exponential(size=rows)

    sizes = [2, 2, 5]
    model = fit_loss(*drawn(5000, 0.3), sizes)
    codes, loss = drawn(5000, 0.7)
    shares = shares_of(codes, sizes)
    told, parts = expected_loss(model, shares, 5000, 0.01), contributions(model, shares)
    assert told.low <= loss.mean() <= told.high
    assert model.mean + parts.sum() == pytest.approx(told.value)
    assert model.expected(codes).mean() == pytest.approx(told.value)
    assert parts == pytest.approx([0.8, 0.0, 0.0], abs=0.1)
    corrected = correct_loss(model, codes[:500], loss[:500] + 1)
    assert corrected.shift == pytest.approx(0.95, abs=0.1)
    assert correct_loss(model, codes[:0], loss[:0]) is model
    assert correct_loss(replace(model, mean=0.0), codes[:30], loss[:30]).shift != 0
    assert expected_loss(replace(model, mean=-9.0), shares, 5000, 0.05).value == 0.0


def test_the_interval_of_an_estimated_loss_holds_what_the_labels_show():
    generator, held = np.random.default_rng(8), []
    for _ in range(200):
        codes = generator.integers(0, 6, (1500, 3))
        model = fit_loss(codes, 1 + codes[:, 0] + generator.exponential(size=1500), [6, 6, 6])
        codes = np.minimum(codes, generator.integers(0, 6, (1500, 3)))[:600]
        loss = 1 + codes[:, 0] + generator.exponential(size=600)
        told = expected_loss(model, shares_of(codes, [6, 6, 6]), 600, 0.05)
        held.append(told.low <= loss.mean() <= told.high)
    assert 0.90 <= np.mean(held) <= 0.99


def test_losses_that_can_not_be_estimated_are_refused():
    model = fit_loss([[0], [1]] * 50, [1.0, 2.0] * 50, [2])
    with pytest.raises(TooLittleData, match="labelled rows"):
        fit_loss([[0]] * 30, [1.0] * 30, [40])
    for ask, problem in [
        (lambda: fit_loss([[3]] * 30, [1.0] * 30, [2]), "doesn't have"),
        (lambda: fit_loss([[0]] * 30, [np.nan] * 30, [2]), "finite loss"),
        (lambda: expected_loss(model, [1.0], 100, 0.05), "bins"),
        (lambda: expected_loss(model, [0.5, 0.5], 10, 0.05), "rows are needed"),
        (lambda: shares_of(np.zeros((0, 1)), [2]), "no rows"),
    ]:
        with pytest.raises(ValueError, match=problem):
            ask()
