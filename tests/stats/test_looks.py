"""Which windows are due, and that their shares of the budget add up."""

import pytest

from app.stats.looks import Look, allowance, looks_after, looks_due


def ends(occupied, **options):
    return [(look.first, look.buckets) for look in looks_due(occupied, **options)]


def test_without_gaps_the_windows_are_those_after_each_bucket():
    due = looks_due(range(20), after=0, until=20, longest=16)
    assert due == [look for bucket in range(20) for look in looks_after(bucket) if look.buckets <= 16]


def test_a_window_with_an_empty_half_shows_nothing_new():
    assert ends([0, 5], after=0, until=8, longest=8) == [(0, 1), (5, 1), (0, 8)]


def test_what_was_looked_at_and_what_is_not_complete_is_not_due():
    assert ends([0, 1, 2, 3, 4], after=2, until=4, longest=8) == [(2, 1), (3, 1), (2, 2), (0, 4)]


def test_a_bucket_that_comes_late_is_in_the_next_window_that_holds_it():
    assert ends([0, 1, 2, 3], after=3, until=4, longest=8) == [(3, 1), (2, 2), (0, 4)]
    assert ends([0, 1, 2], after=3, until=4, longest=8) == [(0, 4)]


def test_nothing_is_due_where_nothing_came():
    assert ends([], after=0, until=100, longest=8) == []


def test_negative_buckets_and_empty_windows_are_refused():
    for occupied, longest in (([-1], 8), ([1], 0)):
        with pytest.raises(ValueError, match="counted from 0"):
            looks_due(occupied, after=0, until=1, longest=longest)
    with pytest.raises(ValueError, match="counted from 0"):
        list(looks_after(-1))


def test_all_shares_together_stay_within_the_budget():
    spent = sum(allowance(Look(k << s, 1 << s), 0.05) for s in range(10) for k in range(3000))
    assert 0.03 < spent < 0.05
    with pytest.raises(ValueError, match="between 0 and 1"):
        allowance(Look(0, 1), 1.0)
