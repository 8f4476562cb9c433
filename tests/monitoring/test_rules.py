"""M2, M3: what a comparison means: findings, scores, recommendations, rows that are missing."""

import numpy as np
import pytest

from app.monitoring.drift.rules import advise, judge_drift, recommend, rows_needed, weigh
from app.monitoring.kinds import Finding, Recommendation
from app.runtimes.profiles import Answered, make_plan
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.stats.drift import compare
from app.stats.effects import measure
from app.stats.reference import Reference

SIGNATURE = Signature((Column("a", ColumnType.FLOAT), Column("b", ColumnType.FLOAT)), Task.REGRESSION)
ROWS = 10_000


def judge(shift=0.0, rows=2000, *, importances=None, threshold=0.1, reference_rows=ROWS, effects=None):
    generator = np.random.default_rng(1)
    was = generator.normal(size=(2, reference_rows))
    plan = make_plan(SIGNATURE, Answered(list(was), was[0].tolist()))
    reference = Reference(plan.profile(Answered(list(was), was[0].tolist())))
    now = generator.normal(size=(2, rows)) + np.array([[shift], [0.0]])
    window = plan.profile(Answered(list(now), now[1].tolist()))
    return judge_drift(
        plan.columns,
        compare(reference, window),
        measure(reference, window),
        importances=importances or {},
        false_alarms=0.05,
        threshold=threshold,
        rows=rows,
        reference_rows=reference_rows,
        design_effects=effects,
    )


def test_a_window_like_its_reference_needs_no_action():
    verdict = judge()
    assert (verdict.finding, verdict.recommendation) == (
        Finding.NO_RELEVANT_DRIFT,
        Recommendation.NO_ACTION_NEEDED,
    )
    assert verdict.score <= verdict.high <= 0.1
    assert advise(verdict, 0.1) == ["No column moved by as much as the threshold of 0.1."]


@pytest.mark.parametrize(
    ("shift", "recommendation"),
    [
        (0.15, Recommendation.NO_ACTION_NEEDED),
        (0.4, Recommendation.RETRAIN_SOON),
        (1.0, Recommendation.RETRAIN_IMMEDIATELY),
    ],
)
def test_what_to_do_follows_from_how_far_it_certainly_went(shift, recommendation):
    verdict = judge(shift, rows=5000)
    assert (verdict.finding, verdict.recommendation) == (Finding.DRIFT, recommendation)
    assert [each.column.name for each in verdict.drifted] == ["a"]
    assert advise(verdict, 0.1)[0] == "Look first at a."


def test_few_rows_say_how_many_are_missing():
    verdict = judge(rows=20)
    assert verdict.finding == Finding.TOO_LITTLE_DATA
    assert verdict.rows_needed
    assert f"{verdict.rows_needed:,} more" in advise(verdict, 0.1)[0]


def test_a_reference_too_small_for_the_threshold_is_named():
    verdict = judge(rows=5000, reference_rows=60, threshold=0.05)
    assert (verdict.finding, verdict.rows_needed) == (Finding.TOO_LITTLE_DATA, None)
    [advice] = advise(verdict, 0.05)
    assert advice.startswith("The reference holds too few rows for this threshold: 60. ")
    assert "a sample of more than 2,020 rows, or choose a higher threshold" in advice


def test_a_reference_whose_rows_depend_on_each_other_is_told_by_its_worst_column():
    counting = np.array([2.0, 392.0, 1.0, 1.0])
    verdict = judge(reference_rows=8645, effects=counting)
    assert (verdict.finding, verdict.rows_needed) == (Finding.TOO_LITTLE_DATA, None)
    [advice] = advise(verdict, 0.1)
    assert "most in b, where 392.0 count for one and the reference's 8,645 are worth 22." in advice
    assert "a sample of more than 197,938 rows" in advice


def test_a_column_that_the_model_hardly_uses_weighs_little():
    verdict = judge(1.0, importances={"a": 0.01, "b": 1.0})
    assert verdict.finding == Finding.DRIFT
    assert verdict.recommendation == Recommendation.NO_ACTION_NEEDED


def test_shifted_answers_are_mentioned():
    generator = np.random.default_rng(2)
    was = generator.normal(size=(2, ROWS))
    plan = make_plan(SIGNATURE, Answered(list(was), was[0].tolist()))
    reference = Reference(plan.profile(Answered(list(was), was[0].tolist())))
    window = plan.profile(
        Answered(list(generator.normal(size=(2, 500))), (generator.normal(size=500) + 1).tolist())
    )
    verdict = judge_drift(
        plan.columns, compare(reference, window), measure(reference, window), importances={}, false_alarms=0.05,
        threshold=0.1, rows=500, reference_rows=ROWS,
    )  # fmt: skip
    assert "The model's own answers have shifted as well." in advise(verdict, 0.1)
    assert verdict.score < 0.1


def test_unknown_importances_weigh_alike():
    plan = make_plan(SIGNATURE, Answered([np.arange(50.0), np.arange(50.0)]))
    assert weigh({}, plan.columns) == [1.0] * len(plan.columns)
    assert weigh({"a": -2.0, "b": 1.0}, plan.columns)[:2] == [1.0, 0.5]


def test_unproven_changes_ask_for_nothing():
    assert recommend(is_proven=False, low=0.9, threshold=0.1) == Recommendation.NO_ACTION_NEEDED
    assert rows_needed(10, 0, 0.1) is None
