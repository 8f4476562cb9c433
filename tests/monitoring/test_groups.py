"""M2: the groups that a plot of a column's drift shows: every value in one of them, and each with its bounds or its label."""

import numpy as np
import pytest

from app.monitoring.drift.groups import groups_of, mask_groups
from app.runtimes.profiles import Source, Watched
from app.stats.axes import category_axis, numeric_axis
from app.stats.profile import Layout, observe


def groups(axis, was, now):
    layout = Layout((axis,))
    profiles = (observe(layout, [np.array(v) if isinstance(v[0], float) else v]) for v in (was, now))
    (found,) = groups_of([Watched("x", Source.INPUT, axis, 0)], *profiles)
    return found


def group(reference, window, *, label=None, low=None, high=None):
    return {"label": label, "low": low, "high": high, "reference": reference, "window": window}


def test_a_column_of_two_numbers_has_two_groups():
    was, now = [1.0] * 394 + [2.0] * 606, [1.0] * 5 + [2.0] * 15
    assert groups(numeric_axis(was), was, now) == [
        group(0.394, 0.25, high=1.0),
        group(0.606, 0.75, low=1.0, high=2.0),
    ]


def test_a_number_beyond_all_of_the_reference_is_in_a_group_of_its_own():
    was = [1.0] * 40 + [2.0] * 60
    assert groups(numeric_axis(was), was, [2.0, 7.0])[-1] == group(0.0, 0.5, low=2.0)


def test_numbers_are_grouped_between_the_deciles_of_the_reference():
    was = [float(n) for n in range(1, 1001)]
    found = groups(numeric_axis(was), was, [50.0, 100.0, 101.0, 5000.0])
    assert [each["reference"] for each in found] == [0.1] * 10
    assert [each["high"] for each in found] == [*(100.0 * n for n in range(1, 10)), None]
    assert [each["window"] for each in found] == [0.5, 0.25, *[0.0] * 7, 0.25]


def test_labels_are_named_and_all_beyond_the_fifteenth_are_one_group():
    was = [f"l{n:02}" for n in range(20) for _ in range(40 - n)]
    found = groups(category_axis(was), was, ["l00", "l17", "new", "l03"])
    assert [each["label"] for each in found] == [*(f"l{n:02}" for n in range(15)), None]
    assert found[-1]["window"] == 0.5
    assert sum(each["reference"] for each in found) == pytest.approx(1.0, abs=1e-5)


def test_a_column_without_values_in_the_window_has_no_share_there():
    was = ["a", "a", "b"]
    found = groups(category_axis(was), was, [None])
    assert found == [group(0.666667, 0.0, label="a"), group(0.333333, 0.0, label="b")]


def test_a_masked_column_keeps_its_shares_and_loses_its_values():
    named, plain = group(0.5, 0.4, label="a"), group(0.5, 0.4)
    columns = [
        {"feature": "x (text_words)", "source": "text_words", "groups": [named]},
        {"feature": "y", "source": "input", "groups": [named]},
    ]
    assert [each["groups"] for each in mask_groups(columns, {"x"})] == [[plain], [named]]
