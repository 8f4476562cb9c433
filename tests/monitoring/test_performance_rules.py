"""M6: what performance means beside its baseline, in words and in advice; groups of columns. Pure."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from app.core.errors import FieldProblem
from app.evidence.realised import Realised
from app.monitoring.kinds import BaselineKind, PerformanceFinding, Recommendation
from app.monitoring.performance.baselines import Baseline
from app.monitoring.performance.formulas import read_formula
from app.monitoring.performance.looking import recommend
from app.monitoring.performance.measuring import measure
from app.monitoring.performance.rules import Judgement, advise_on, choose_metric, judge_metric, name_here
from app.runtimes.groups import group_column, group_numbers
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.stats.intervals import TooLittleData, known, proportion

FOUND = PerformanceFinding


@pytest.mark.parametrize(
    ("metric", "now", "was", "finding", "needed"),
    [
        ("accuracy", proportion(500, 1000, 0.05), known(0.9), FOUND.FALLEN, None),
        ("accuracy", proportion(900, 1000, 0.05), known(0.9), FOUND.HOLDING, None),
        ("accuracy", proportion(150, 200, 0.05), known(0.9), FOUND.UNDECIDED, 2481),
        ("accuracy", TooLittleData("rows", 5, rows=5), known(0.9), FOUND.INSUFFICIENT_DATA, 15),
        ("accuracy", TooLittleData("rows of class 1", 5, rows=50), known(0.9), FOUND.INSUFFICIENT_DATA, 150),
        ("accuracy", TooLittleData("rows", 0), known(0.9), FOUND.INSUFFICIENT_DATA, 20),
        ("accuracy", ValueError("undefined"), known(0.9), FOUND.INSUFFICIENT_DATA, None),
        ("accuracy", proportion(90, 100, 0.05), known(0.0), FOUND.NO_BASELINE, None),
        ("accuracy", proportion(90, 100, 0.05), ValueError("unknown"), FOUND.NO_BASELINE, None),
        (None, proportion(90, 100, 0.05), known(0.9), FOUND.NO_BASELINE, None),
    ],
)
def test_what_is_found_follows_from_both_intervals(metric, now, was, finding, needed):
    judgement = judge_metric(metric, {"accuracy": now}, {"accuracy": was}, 0.15)
    assert (judgement.finding, judgement.labels_needed) == (finding, needed)
    [sentence] = advise_on(judgement)
    assert sentence.endswith(".")
    assert "None" not in sentence


def test_a_metric_that_the_window_does_not_have_is_insufficient():
    assert judge_metric("mae", {}, {"mae": known(1.0)}, 0.15).finding == FOUND.INSUFFICIENT_DATA


def test_errors_are_worse_the_larger_they_are():
    now = {"mae": known(1.3)}
    assert judge_metric("mae", now, {"mae": known(1.0)}, 0.15).finding == FOUND.FALLEN
    assert judge_metric("mae", now, {"mae": known(2.0)}, 0.15).finding == FOUND.HOLDING


def test_an_estimate_counts_unless_labels_prove_the_contrary():
    urgent, calm = Recommendation.RETRAIN_IMMEDIATELY, Recommendation.NO_ACTION_NEEDED
    assert recommend(Judgement(FOUND.FALLEN)) == urgent
    assert recommend(Judgement(FOUND.UNDECIDED)) == calm
    assert recommend(Judgement(FOUND.UNDECIDED), is_estimated_fallen=True) == urgent
    assert recommend(Judgement(FOUND.HOLDING), is_estimated_fallen=True) == calm


def test_the_metric_that_speaks_is_the_first_that_the_baseline_has():
    assert choose_metric(Task.CLASSIFICATION, {"log_loss", "f1_macro"}) == "f1_macro"
    assert choose_metric(Task.REGRESSION, {"accuracy"}) is None
    assert choose_metric(Task.CLUSTERING, {"accuracy"}) is None
    assert name_here("Macro F1") == "f1_macro"


def test_columns_are_cut_into_groups_of_equal_size_or_of_frequent_values():
    numbers = group_column(Column("a", ColumnType.FLOAT), [1.0, 2.0, 3.0, 4.0, None], 2)
    assert numbers.names == ["up to 2", "above 2", "missing"]
    assert numbers.codes([0.0, 2.0, 9.0, None]).tolist() == [0, 0, 1, 2]
    texts = group_column(Column("b", ColumnType.STRING), ["x", "x", "y", "z", None], 2)
    assert texts.names == ["x", "y", "other", "missing"]
    assert texts.codes(["y", "new", None]).tolist() == [1, 2, 3]
    flags = group_column(Column("c", ColumnType.BOOLEAN), [True, False, True], 2)
    assert flags.names == ["true", "false", "other", "missing"]


@pytest.mark.parametrize("cells", [[], [None], [7.0, 7.0], ["text"]])
def test_columns_without_numbers_that_differ_are_one_group(cells):
    groups = group_numbers(cells, 10)
    assert groups.names == ["all", "missing"]
    assert groups.codes([1.0, None]).tolist() == [0, 1]


def test_models_without_labels_or_errors_tell_no_metrics():
    inputs = (Column("a", ColumnType.FLOAT),)
    assert measure(Signature(inputs, Task.CLUSTERING), Realised(), 0.05).metrics == {}
    assert measure(Signature(inputs, Task.ANOMALY), Realised(), 0.05).metrics == {}
    told = measure(Signature(inputs, Task.REGRESSION), Realised(), 0.05).metrics
    assert all(isinstance(each, TooLittleData) for each in told.values())


def test_a_formula_that_is_none_is_refused_by_its_part():
    with pytest.raises(FieldProblem, match="attribute"):
        read_formula("value.real")


def test_first_labels_are_known_as_badly_as_their_bursts_leave_it_and_held_out_rows_as_well_as_they_are_many():
    signature = Signature((Column("x", ColumnType.FLOAT),), Task.CLASSIFICATION, ColumnType.INTEGER, (0, 1))
    sums = Realised(500, 500, pairs=Counter({("0", "0"): 250, ("1", "1"): 200, ("1", "0"): 50}))
    widths = []
    for kind in (BaselineKind.EVALUATION, BaselineKind.FIRST_LABELS):
        baseline = Baseline(kind, 500, datetime(2026, 1, 1, tzinfo=UTC), None, sums, {})
        told = baseline.tell(signature, 0.01, design_effect=4.0)["accuracy"]
        assert told.value == pytest.approx(0.9)
        widths.append(told.high - told.low)
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.1)
