"""What tells two versions apart (R6), without a database."""

import pytest

from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.system.differences import (
    Better,
    Changes,
    compare_mappings,
    compare_metrics,
    compare_signatures,
    is_higher_better,
)


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        ("accuracy", True),
        ("F1", True),
        ("val_f1_macro", True),
        ("roc_auc", True),
        ("r2_score", True),
        ("log_loss", False),
        ("rmse", False),
        ("test.mean_absolute_error", False),
        ("max-drawdown", False),
        ("false_positive_rate", False),
        ("epochs", None),
        ("closs", None),
        ("", None),
    ],
)
def test_the_words_of_a_metric_tell_which_direction_is_good(metric, verdict):
    assert is_higher_better(metric) is verdict


def test_metrics_are_compared_by_their_direction():
    found = compare_metrics(
        {"accuracy": 0.9, "log_loss": 0.2, "epochs": 3, "f1": 0.5}, {"accuracy": 0.8, "log_loss": 0.1, "epochs": 4, "f1": 0.5}
    )  # fmt: skip
    assert {each.metric: each.better for each in found} == {
        "accuracy": Better.A,
        "epochs": None,
        "f1": Better.NEITHER,
        "log_loss": Better.B,
    }
    assert found[0].difference == pytest.approx(-0.1)
    assert found[0].relative == pytest.approx(-0.1 / 0.9)


def test_a_metric_that_one_lacks_speaks_for_neither():
    (only_a, only_b) = compare_metrics({"accuracy": 0.9}, {"recall": 0.9})
    assert (only_a.b, only_a.difference, only_a.better) == (None, None, None)
    assert (only_b.a, only_b.better) == (None, None)


def test_a_difference_from_zero_has_no_relative_size():
    (found,) = compare_metrics({"accuracy": 0.0}, {"accuracy": 0.5})
    assert (found.difference, found.relative, found.better) == (0.5, None, Better.B)


def test_mappings_differ_by_what_was_added_removed_and_changed():
    assert compare_mappings({"a": 1, "b": 2, "c": 3}, {"b": 2, "c": 4, "d": 5}) == Changes(
        {"d": 5}, {"a": 1}, {"c": {"a": 3, "b": 4}}
    )


def test_signatures_differ_in_columns_and_in_what_breaks_callers():
    old = Signature((Column("x", ColumnType.FLOAT), Column("y", ColumnType.INTEGER)), Task.REGRESSION)
    new = Signature((Column("y", ColumnType.STRING), Column("z", ColumnType.FLOAT)), Task.REGRESSION)
    found = compare_signatures(old, new)
    assert set(found["added"]) == {"z"}
    assert set(found["removed"]) == {"x"}
    assert found["changed"]["y"]["b"] == {"type": "string", "nullable": False}
    assert any("z is new" in reason for reason in found["breaks"])


def test_what_was_seen_in_a_column_is_no_difference():
    old, new = (
        Signature((Column("x", ColumnType.FLOAT, minimum=0, maximum=top),), Task.REGRESSION) for top in (1, 2)
    )
    assert compare_signatures(old, new) == {"added": {}, "removed": {}, "changed": {}, "breaks": []}
