"""M6: realised performance: what other libraries tell, intervals that hold what they say, verdicts that can be believed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, binomtest
from sklearn import metrics

from app.stats.confusion import (
    Average,
    Confusion,
    Score,
    accuracy,
    average_score,
    classification_scores,
    confuse,
    score_of,
)
from app.stats.error_sums import Error, ErrorSums, error_of, sum_errors
from app.stats.intervals import (
    Estimate,
    TooLittleData,
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
from app.stats.looks import allowance, looks_after
from app.stats.performance import Standing, judge
from app.stats.returns import maximum_drawdown, sharpe_ratio, win_rate
from app.stats.score_counts import PROBABILITY_EDGES, ScoreCounts, count_scores, log_loss, roc_auc

LABELS = ("a", "b", "c")
TRUTH = np.array([[0.30, 0.05, 0.05], [0.04, 0.20, 0.06], [0.02, 0.03, 0.25]])


def drawn_confusion(generator, rows, truth=TRUTH):
    return Confusion(LABELS[: len(truth)], generator.multinomial(rows, truth.ravel()).reshape(truth.shape))


def covers(estimates, truth):
    return np.mean([each.low <= truth <= each.high for each in estimates])


def test_scores_are_those_of_scikit_learn():
    generator = np.random.default_rng(1)
    actual, predicted = generator.choice(LABELS, 500), generator.choice(LABELS, 500)
    confusion = confuse(LABELS, actual.tolist(), predicted.tolist())
    assert confusion.counts.tolist() == metrics.confusion_matrix(actual, predicted, labels=LABELS).tolist()
    assert accuracy(confusion, 0.05).value == pytest.approx(metrics.accuracy_score(actual, predicted))
    for score, theirs in zip(
        Score, (metrics.precision_score, metrics.recall_score, metrics.f1_score), strict=True
    ):
        by_class = [score_of(confusion, score, label, 0.05).value for label in LABELS]
        assert by_class == pytest.approx(theirs(actual, predicted, average=None, labels=LABELS))
        for average in Average:
            ours = average_score(confusion, score, average, 0.05)
            assert ours.value == pytest.approx(theirs(actual, predicted, average=average.value))
            assert ours.low < ours.value < ours.high


@pytest.mark.parametrize("score", Score)
@pytest.mark.parametrize("average", Average)
def test_intervals_of_averages_hold_what_they_say(score, average):
    generator = np.random.default_rng(2)
    truth = average_score(Confusion(LABELS, (TRUTH * 1e9).astype(np.int64)), score, average, 0.05).value
    told = [average_score(drawn_confusion(generator, 150), score, average, 0.05) for _ in range(500)]
    assert 0.925 <= covers(told, truth) <= 0.985


def test_the_interval_of_a_rare_class_holds_where_the_usual_ones_fail():
    """Two percent positives, and a classifier that is nearly always right about them."""
    generator = np.random.default_rng(3)
    truth = np.array([[0.975, 0.005], [0.001, 0.019]])
    told = []
    for _ in range(600):
        try:
            told.append(score_of(drawn_confusion(generator, 1500, truth), Score.F1, "b", 0.05))
        except TooLittleData:
            continue
    assert len(told) > 500
    assert 0.925 <= covers(told, 2 * 0.019 / (2 * 0.019 + 0.006)) <= 0.985


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), max_size=40), st.integers(0, 40))
def test_counts_add_up(rows, cut):
    def counted(part):
        return confuse(LABELS, [a for a, _ in part], [b for _, b in part])

    assert np.array_equal((counted(rows[:cut]) + counted(rows[cut:])).counts, counted(rows).counts)


def test_what_cannot_be_told_says_why():
    told = classification_scores(Confusion(("no", "yes"), np.array([[980, 0], [10, 0]])), 0.05)
    assert isinstance(told["recall no"], Estimate)
    assert isinstance(told["recall yes"], TooLittleData)
    assert told["recall yes"].labels_missing == 990
    assert "undefined" in str(told["weighted precision"])
    with pytest.raises(TooLittleData, match="20 rows are needed, there are 3"):
        accuracy(confuse(["a"], ["a"] * 3, ["a"] * 3), 0.05)
    with pytest.raises(ValueError, match="none of the labels"):
        confuse(["a"], ["b"], ["a"])
    with pytest.raises(ValueError, match="once"):
        confuse(["a", "a"], ["a"], ["a"])
    with pytest.raises(ValueError, match="different labels"):
        Confusion(("a",), np.zeros((1, 1))) + Confusion(("b",), np.zeros((1, 1)))
    assert TooLittleData("rows", 0).labels_missing is None
    only = average_score(confuse(["a", "b"], ["a"] * 30, ["a"] * 30), Score.F1, Average.MACRO, 0.05)
    assert only.value == only.high == 1.0


@pytest.mark.parametrize("alpha", [0.05, 0.02])
def test_shares_have_wilsons_interval(alpha):
    theirs = binomtest(17, 40).proportion_ci(1 - alpha, "wilson")
    ours = proportion(17, 40, alpha)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize(("rows", "share"), [(100, 0.99), (100, 0.95), (1000, 0.99), (200, 0.5)])
def test_far_out_the_interval_of_a_share_is_exact(rows, share):
    """Wilson's misses up to 34 times too often there."""
    theirs = binomtest(17, 40).proportion_ci(1 - 1e-4, "exact")
    ours = proportion(17, 40, 1e-4)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    told = [proportion(hits, rows, 1e-4) for hits in range(rows + 1)]
    missed = sum(
        binom.pmf(k, rows, share) for k, each in enumerate(told) if not each.low <= share <= each.high
    )
    assert missed <= 1e-4


def test_a_ratio_ends_where_the_difference_touches_nothing():
    first, second = proportion(48, 80, 0.05), proportion(56, 70, 0.05)

    def scaled(by):
        return Estimate(second.value * by, second.low * by, second.high * by, second.rows)

    told = ratio(first, second)
    assert told.low == pytest.approx(brentq(lambda r: difference(first, scaled(r)).low, 0.1, 0.75))
    assert told.high == pytest.approx(brentq(lambda r: difference(first, scaled(r)).high, 0.75, 2))
    assert ratio(first, Estimate(0.1, 0.01, 0.5)).low == -np.inf
    with pytest.raises(ValueError, match="nothing"):
        ratio(first, Estimate(0.1, 0.0, 0.2))


def test_intervals_refuse_what_makes_none():
    for ask in (
        lambda: proportion(3, 2, 0.05),
        lambda: proportion(0, 0, 0.05),
        lambda: normal_quantile(1.0),
        lambda: around(1.0, np.nan, 30, 0.05),
        lambda: around(1.0, 1.0, 1, 0.05),
        lambda: within_unit(1.0, 1.0, 0.1, 30, 0.05),
        lambda: mean(1.0, 1.0, 1.0, 19, 0.05),
    ):
        with pytest.raises(ValueError):
            ask()


def scored(generator, rows, separation=1.0):
    is_positive = generator.random(rows) < 0.3
    return 1 / (1 + np.exp(-(generator.normal(size=rows) + separation * is_positive - 1))), is_positive


def test_area_and_log_loss_are_those_of_scikit_learn_within_the_bin_error():
    scores, is_positive = scored(np.random.default_rng(4), 3000)
    counts = count_scores(PROBABILITY_EDGES, scores, is_positive)
    area, loss = roc_auc(counts, 0.05), log_loss(counts, 0.05)
    assert abs(area.estimate.value - metrics.roc_auc_score(is_positive, scores)) <= area.bin_error <= 0.015
    assert abs(area.estimate.value - metrics.roc_auc_score(is_positive, scores)) <= 0.001
    assert abs(loss.estimate.value - metrics.log_loss(is_positive, scores)) <= loss.bin_error <= 0.03
    assert abs(loss.estimate.value - metrics.log_loss(is_positive, scores)) <= 0.001


@pytest.mark.parametrize(("rows", "separation"), [(150, 1.0), (150, 3.0), (2000, 0.3)])
def test_the_interval_of_the_area_holds_what_it_says(rows, separation):
    from scipy.stats import norm

    generator = np.random.default_rng(5)
    told = [
        roc_auc(count_scores(PROBABILITY_EDGES, *scored(generator, rows, separation)), 0.05).estimate
        for _ in range(400)
    ]
    assert 0.925 <= covers(told, norm.cdf(separation / np.sqrt(2))) <= 0.99


def test_a_perfect_separation_is_not_taken_for_certain():
    scores = np.repeat([0.1, 0.9], 30)
    area = roc_auc(count_scores(PROBABILITY_EDGES, scores, scores > 0.5), 0.05).estimate
    assert (area.value, area.high) == (1.0, 1.0)
    assert 0.8 < area.low < 0.99


def test_scores_of_other_kinds_and_few_of_them():
    edges = np.array([0.0, 1.0])
    counts = count_scores(edges, [-1.0, 0.5, 7.0, np.inf], [True, True, False, True])
    assert (counts + counts).unusable == 2
    with pytest.raises(TooLittleData, match="positive class"):
        roc_auc(counts, 0.05)
    with pytest.raises(TooLittleData, match="negative class"):
        roc_auc(count_scores(edges, [0.5] * 30, [True] * 30), 0.05)
    with pytest.raises(ValueError, match="bins of probabilities"):
        log_loss(counts, 0.05)
    with pytest.raises(ValueError, match="different bins"):
        counts + ScoreCounts(PROBABILITY_EDGES, counts.positives, counts.negatives)
    with pytest.raises(ValueError, match="shape"):
        count_scores(edges, [1.0], [True, False])


def regressed(generator, rows, noise=None):
    actual = 50 + 10 * generator.normal(size=rows)
    return actual, actual + 1 + (generator.normal(0, 4, rows) if noise is None else noise(generator, rows))


def test_the_mean_of_a_long_tail_is_not_called_small_too_often():
    """Lognormal losses, 200 rows, alpha .01: without Hall's correction 2.5 % of the intervals lie below the truth."""
    losses = np.random.default_rng(11).lognormal(size=(3000, 200))
    told = [mean_of(row, 0.01) for row in losses]
    assert np.mean([each.high < np.exp(0.5) for each in told]) <= 0.019
    assert np.mean([each.low > np.exp(0.5) for each in told]) <= 0.005


def test_errors_are_those_of_scikit_learn():
    actual, predicted = regressed(np.random.default_rng(6), 400)
    sums = sum_errors(actual, predicted, centre=48.0, unit=9.0)
    theirs = {
        Error.MAE: metrics.mean_absolute_error(actual, predicted),
        Error.MSE: metrics.mean_squared_error(actual, predicted),
        Error.RMSE: metrics.root_mean_squared_error(actual, predicted),
        Error.R2: metrics.r2_score(actual, predicted),
        Error.BIAS: np.mean(predicted - actual),
    }
    for error, value in theirs.items():
        assert error_of(sums, error, 0.05).value == pytest.approx(value, rel=1e-4)


def test_a_few_absurd_labels_count_for_what_they_are():
    actual, predicted = regressed(np.random.default_rng(6), 4000)
    actual[:3] = 1e9
    sums = sum_errors(actual, predicted, centre=48.0, unit=9.0)
    told = {error: error_of(sums, error, 0.05).value for error in Error}
    assert told[Error.MAE] == pytest.approx(metrics.mean_absolute_error(actual, predicted))
    assert told[Error.RMSE] == pytest.approx(metrics.root_mean_squared_error(actual, predicted))
    assert told[Error.R2] == pytest.approx(metrics.r2_score(actual, predicted))
    assert sums.clipped == 0


def test_errors_that_are_tiny_beside_the_unit_have_intervals_too():
    generator = np.random.default_rng(8)
    actual = generator.normal(size=1000)
    error = generator.normal(size=1000)
    near, far = (sum_errors(actual, actual + scale * error) for scale in (1e-6, 1.0))
    for kind, scale in ((Error.MAE, 1e-6), (Error.MSE, 1e-12), (Error.RMSE, 1e-6), (Error.BIAS, 1e-6)):
        fine, coarse = error_of(near, kind, 0.05), error_of(far, kind, 0.05)
        assert (fine.low, fine.high) == pytest.approx((coarse.low * scale, coarse.high * scale), rel=1e-4)


def test_sums_that_were_stored_in_coarser_units_add_up_with_new_ones():
    old = ErrorSums(0.0, 1.0, rows=20, e=20 << 20, abs_e=20 << 20, e2=20 << 20, e3=20 << 20, abs_e3=20 << 20)
    whole = sum_errors([0.0] * 20, [2.0] * 20) + old
    assert (whole.rows, whole.per_row("abs_e"), whole.per_row("e2")) == (40, 1.5, 2.5)
    assert old + sum_errors([0.0] * 20, [2.0] * 20) == whole


def test_intervals_of_errors_hold_what_they_say():
    generator = np.random.default_rng(7)
    sums = [sum_errors(*regressed(generator, 200), centre=50.0, unit=10.0) for _ in range(600)]
    folded = 4 * np.sqrt(2 / np.pi) * np.exp(-1 / 32) + (1 - 2 * 0.4012937)  # mean of |N(1, 4²)|
    truths = {
        Error.BIAS: 1.0,
        Error.MAE: folded,
        Error.MSE: 17.0,
        Error.RMSE: np.sqrt(17),
        Error.R2: 1 - 0.17,
    }
    for error, truth in truths.items():
        assert 0.92 <= covers([error_of(each, error, 0.05) for each in sums], truth) <= 0.98, error


numbers = st.floats()


@given(st.lists(st.tuples(numbers, numbers), max_size=30), st.integers(0, 30))
def test_error_sums_merge_to_the_last_bit(rows, cut):
    def summed(part):
        return sum_errors([a for a, _ in part], [b for _, b in part], centre=2.0, unit=3.0)

    assert summed(rows[:cut]) + summed(rows[cut:]) == summed(rows)


def test_errors_that_are_no_numbers_or_beyond_all_measure_are_counted():
    sums = sum_errors([1.0, np.nan, 1e308, 2.0], [1.0, 1.0, -1e308, np.inf])
    assert (sums.rows, sums.unusable, sums.clipped) == (2, 2, 1)
    with pytest.raises(TooLittleData):
        error_of(sums, Error.MAE, 0.05)
    with pytest.raises(ValueError, match="don't vary"):
        error_of(sum_errors([1.0] * 30, np.arange(30.0)), Error.R2, 0.05)
    with pytest.raises(ValueError, match="no number any more"):
        error_of(sum_errors([1e300, 0.0] * 20, [0.0] * 40, unit=1e290), Error.MSE, 0.05)
    with pytest.raises(ValueError, match="units"):
        sums + sum_errors([1.0], [1.0], unit=2.0)
    with pytest.raises(ValueError, match="one length"):
        sum_errors([1.0], [1.0, 2.0])


@pytest.mark.parametrize("memory", [0.0, 0.3])
def test_the_interval_of_a_sharpe_ratio_holds_what_it_says(memory):
    """Fat tails, and returns that depend on those before."""
    generator, told = np.random.default_rng(8), []
    for _ in range(300):
        shocks = generator.standard_t(6, 600) * np.sqrt(4 / 6)
        series = np.empty(600)
        series[0] = shocks[0]
        for i in range(1, 600):
            series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * shocks[i]
        told.append(sharpe_ratio(0.01 * (series + 0.08), 0.05, periods_per_year=252))
    assert 0.90 <= covers(told, 0.08 * np.sqrt(252)) <= 0.985


def test_returns():
    assert maximum_drawdown([0.1, 0.1]) == 0.0
    assert maximum_drawdown([0.5, -1.0, 0.5]) == 1.0
    wealth = np.append(1.0, np.cumprod(1 + np.random.default_rng(9).normal(0, 0.02, 500)))
    worst = max(1 - low / max(wealth[: i + 1]) for i, low in enumerate(wealth))
    assert maximum_drawdown(wealth[1:] / wealth[:-1] - 1) == pytest.approx(worst)
    for ask, problem in [
        (lambda: maximum_drawdown([-1.5]), "below -1"),
        (lambda: maximum_drawdown([]), "finite"),
        (lambda: sharpe_ratio([0.01] * 30, 0.05), "vary"),
        (lambda: win_rate([0.0] * 30, 0.05), "gains or losses"),
        (lambda: sharpe_ratio([0.01, 0.02], 0.05), "returns are needed"),
    ]:
        with pytest.raises(ValueError, match=problem):
            ask()


def test_verdicts_tell_what_is_proven_and_what_is_missing():
    baseline = proportion(9000, 10_000, 0.01)
    assert judge(proportion(650, 1000, 0.01), baseline, 0.15, more_is_better=True).standing is Standing.FALLEN
    assert (
        judge(proportion(890, 1000, 0.01), baseline, 0.15, more_is_better=True).standing is Standing.HOLDING
    )
    verdict = judge(proportion(80, 100, 0.01), baseline, 0.15, more_is_better=True)
    assert verdict.standing is Standing.UNDECIDED
    later = proportion(
        int(0.8 * (100 + verdict.labels_missing) * 1.3), int((100 + verdict.labels_missing) * 1.3), 0.01
    )
    assert judge(later, baseline, 0.15, more_is_better=True).standing is Standing.HOLDING
    grown = judge(Estimate(1.3, 1.2, 1.4, 500), known(1.0), 0.15, more_is_better=False)
    assert grown.standing is Standing.FALLEN
    assert (grown.loss.low, grown.loss.high) == pytest.approx((0.2, 0.4))
    vague = Estimate(0.9, 0.5, 0.99, 12)
    assert judge(proportion(80, 100, 0.01), vague, 0.15, more_is_better=True).labels_missing is None
    with pytest.raises(ValueError, match="threshold"):
        judge(baseline, baseline, 1.5, more_is_better=True)


@pytest.mark.parametrize(
    "sign", [-1, 1], ids=["at the threshold, called fallen", "at the threshold, called holding"]
)
def test_verdicts_are_wrong_no_more_often_than_alpha(sign):
    """Where the loss is exactly the threshold, each verdict is wrong half of alpha of the times."""
    generator, alpha = np.random.default_rng(10), 0.1
    wrong = Standing.FALLEN if sign < 0 else Standing.HOLDING
    told = [
        judge(
            proportion(generator.binomial(400, 0.765), 400, alpha),
            proportion(generator.binomial(2000, 0.9), 2000, alpha),
            0.15,
            more_is_better=True,
        )
        for _ in range(1500)
    ]
    assert np.mean([each.standing is wrong for each in told]) <= alpha / 2 + 3 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize("wrong", [Standing.FALLEN, Standing.HOLDING])
def test_a_whole_life_of_looks_is_wrong_no_more_often_than_its_budget(wrong):
    """Accuracy sits exactly at the threshold: 300 lives of 64 buckets, looked at by dyadic windows, budget .05."""
    generator, buckets, rows, errors = np.random.default_rng(12), 64, 60, 0
    for _ in range(300):
        hits = np.append(0, generator.binomial(rows, 0.765, buckets).cumsum())
        looks = [look for bucket in range(buckets) for look in looks_after(bucket)]
        told = (
            judge(
                proportion(
                    int(hits[look.first + look.buckets] - hits[look.first]), rows * look.buckets, alpha
                ),
                known(0.9),
                0.15,
                more_is_better=True,
            ).standing
            for look in looks
            if (alpha := allowance(look, 0.05))
        )
        errors += wrong in told
    assert errors / 300 <= 0.05


def test_a_real_fall_is_found_within_a_few_windows():
    """Accuracy from .9 to .7, 100 labels a window: past the threshold of .15 with a whole life of looks paid for."""
    generator, found = np.random.default_rng(13), []
    for _ in range(100):
        hits = np.append(0, generator.binomial(100, 0.70, 256).cumsum())
        found.append(first_fall(hits, 100))
    assert np.median(found) <= 8


def first_fall(hits, rows):
    """The number of windows until a fall is proven."""
    for bucket in range(len(hits) - 1):
        for look in looks_after(bucket):
            share = proportion(
                int(hits[look.first + look.buckets] - hits[look.first]),
                rows * look.buckets,
                allowance(look, 0.05),
            )
            if judge(share, known(0.9), 0.15, more_is_better=True).standing is Standing.FALLEN:
                return bucket + 1
    return len(hits)
