"""R4: what the gates find, check by check."""

import numpy as np
import pytest

from app.registry import gate_checks as checks
from app.registry.gate_checks import Evaluation


def found(check):
    return check.passed


def test_a_metric_below_its_bound_or_missing_fails():
    bounds = {
        "accuracy": {"min": 0.9, "max": None},
        "log_loss": {"min": None, "max": 0.2},
        "f1": {"min": 0.5},
    }
    results = checks.check_metrics({"accuracy": 0.89, "log_loss": 0.1}, bounds)
    assert [found(check) for check in results] == [False, True, False]
    assert "0.89 is below" in results[0].finding


def test_budgets_are_only_judged_where_they_are_set():
    assert checks.check_latency(3.0, None) is None
    assert checks.check_latency(3.0, 2.0).passed is False
    assert checks.check_memory(10 * 2**20, 20).passed is True


def test_a_score_too_good_to_be_true_is_taken_for_a_leak():
    assert checks.check_too_good({"accuracy": 0.999, "mse": 1.0}, 0.995).passed is False
    assert checks.check_too_good({"accuracy": 0.97, "mse": 1.0}, 0.995).passed is True


@pytest.mark.parametrize("copy", [[1, 0] * 50, ["b", "a"] * 50, [0.0, 1.0] * 50])
def test_a_renamed_copy_of_the_target_is_found(copy):
    check = checks.check_copied_target({"x": list(range(100)), "leak": copy}, [0, 1] * 50)
    assert check.passed is False
    assert "leak" in check.finding
    assert "x" not in check.finding.split(" holds")[0]


def test_a_rescaled_copy_of_a_numeric_target_is_found():
    truth = np.random.default_rng(1).normal(size=500)
    noisy = truth + np.random.default_rng(2).normal(size=500)
    assert checks.check_copied_target({"leak": truth * 3 + 1}, truth).passed is False
    assert checks.check_copied_target({"honest": noisy}, truth).passed is True


def test_held_out_rows_of_the_training_sample_are_found():
    assert checks.check_shared_rows([(1, 2)], [(1, 2), (3, 4)]).passed is False
    assert checks.check_shared_rows([(1, 2)], [(5, 2), (3, 4)]).passed is True


def test_rows_of_few_values_have_twins_without_any_leak():
    generator = np.random.default_rng(4)
    drawn = [tuple(row) for row in generator.geometric(0.3, size=(3000, 5)).tolist()]
    sample, held_out = drawn[:1000], drawn[1000:]
    check = checks.check_shared_rows(sample, held_out)
    assert check.figures["shared"] > 0.1 * len(held_out)
    assert check.passed is True
    leaking = checks.check_shared_rows(sample, held_out[:1600] + sample[:400])
    assert leaking.passed is False
    assert "of whose rows" in leaking.finding


def test_unequal_selection_rates_fail_and_small_groups_are_not_judged():
    groups = ["m"] * 100 + ["w"] * 100 + ["x"] * 5
    answers = [1] * 50 + [0] * 50 + [1] * 20 + [0] * 80 + [1] * 5
    check = checks.check_fairness(groups, answers, column="sex", favourable=1, max_gap=0.2)
    assert check.passed is False
    assert check.figures["gap"] == pytest.approx(0.3)
    assert checks.check_fairness(["x"] * 5, [1] * 5, column="sex", favourable=1, max_gap=0.2).passed is None


def test_a_candidate_that_is_worse_than_chance_explains_loses():
    truth = [0, 1] * 200
    worse = [1 - t if i % 5 == 0 else t for i, t in enumerate(truth)]
    candidate, champion = Evaluation(truth, worse, True), Evaluation(truth, list(truth), True)
    assert checks.check_against_champion(candidate, champion, champion_name="m:1").passed is False
    assert checks.check_against_champion(champion, candidate, champion_name="m:1").passed is True


def test_one_unlucky_row_is_not_a_loss():
    truth = [0, 1] * 200
    candidate = Evaluation(truth, [1, *truth[1:]], True)
    assert (
        checks.check_against_champion(candidate, Evaluation(truth, truth, True), champion_name="m:1").passed
        is True
    )


def test_labels_that_differ_only_in_type_are_the_same_class():
    check = checks.check_against_champion(
        Evaluation(["1", 0.0], [1, 0], True), Evaluation([1, 0], [1, 0], True), champion_name="m:1"
    )
    assert check.figures["candidate"] == 0


@pytest.mark.parametrize(
    ("truth", "passed", "rows"),
    [([0, 1, 2, 1], None, 1), (["no", "yes"], False, 2), ([2, 1], None, 1), ([2, 1, "x"], False, 2)],
)
def test_held_out_labels_that_the_model_never_answers_are_told(truth, passed, rows):
    (check,) = checks.check_labels(truth, [0, 1])
    assert (check.passed, check.figures["rows"]) == (passed, rows)
    assert f"{rows} of {len(truth)} rows hold a label such as" in check.finding
    assert "none of the model's classes (0, 1)" in check.finding


@pytest.mark.parametrize(
    ("truth", "classes"),
    [
        ([0, 1.0, "1", True], [0, 1]),
        (["nan", "a"], ["a", "nan"]),
        (["ill", "well"], ["well", "ill"]),
    ],
)
def test_held_out_labels_in_another_type_are_known(truth, classes):
    assert checks.check_labels(truth, classes) == []


def test_regressions_are_compared_by_squared_error():
    noise = np.random.default_rng(3).normal(size=300)
    good, bad = Evaluation(noise * 0, noise * 0.1, False), Evaluation(noise * 0, noise, False)
    assert checks.check_against_champion(bad, good, champion_name="m:1").passed is False


@pytest.mark.parametrize(
    ("expected", "answer", "passed"),
    [(1, 1, True), (1.0, 1.0000001, True), ("a", "b", False), (True, 1.0, True)],
)
def test_edge_cases_allow_numbers_their_tolerance(expected, answer, passed):
    assert checks.check_edge_case(1, expected, answer, 1e-6).passed is passed
