"""M1, M2: labels of any number: told apart in bounded space, exactly mergeable, a new one found among a hundred thousand."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.axes import category_axis
from app.stats.drift import Question, compare
from app.stats.labels import (
    MOST,
    MOST_OF_REFERENCE,
    LabelCounts,
    from_nowhere,
    merge_labels,
    read_all,
    write_all,
)
from app.stats.profile import Layout, Profile, observe
from app.stats.reference import Reference
from app.stats.seasons import HOURS, by_hour
from tests.stats.simulate_categories import Labels, null_rates, references, windows_until_found

hashes = st.lists(st.integers(0, (1 << 32) - 1) | st.integers(0, 20), max_size=40)
ONE_LABEL = list(Question).index(Question.ONE_LABEL)


@given(seen=hashes, cuts=st.lists(st.integers(0, 40), max_size=4), order=st.randoms(use_true_random=False))
def test_parts_in_any_order_make_the_whole_however_few_cells_there_are(seen, cuts, order):
    ends = sorted({min(cut, len(seen)) for cut in cuts} | {0, len(seen)})
    parts = [LabelCounts.of(Counter(seen[a:b]), most=5) for a, b in pairwise(ends)]
    order.shuffle(parts)
    merged, whole = merge_labels(parts, most=5), LabelCounts.of(Counter(seen), most=5)
    assert write_all([merged]) == write_all([whole])
    assert len(merged.hashes) <= 5
    assert merged.counts.sum() == len(seen)


def test_what_was_stored_is_read_and_what_is_no_record_is_refused():
    columns = (LabelCounts.of({7: 3, 1 << 31: 1}), LabelCounts.empty())
    assert write_all(read_all(write_all(columns), 2)) == write_all(columns)
    assert write_all([LabelCounts.empty()] * 3) == b""
    with pytest.raises(ValueError, match="more columns"):
        read_all(write_all(columns), 1)


def test_a_share_of_nothing_or_all_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        from_nowhere(LabelCounts.empty(), LabelCounts.of({1: 1}), 1.0)


@pytest.mark.parametrize("is_even", [True, False], ids=["even", "by rank"])
@pytest.mark.parametrize("cardinality", [3, 300, 10_000, 100_000])
def test_labels_of_any_number_are_nominal_and_a_new_one_is_found_soon(cardinality, is_even):
    """One of 0.5 % in windows of 500, by the share of a lifetime's budget that one of fifty columns has."""
    labels = Labels(np.random.default_rng(cardinality), cardinality, is_even=is_even)
    assert all(
        rate <= level + 3 * np.sqrt(level / 400)
        for rate, level in zip(null_rates(labels, 400), (0.05, 0.01), strict=False)
    )
    found = [windows_until_found(labels, each, most=8) for each in references(labels, 8, 100_000)]
    assert np.median(found) <= 4
    assert max(found) <= 8


def test_busy_windows_tell_fewer_labels_apart_and_find_a_new_one_all_the_same():
    labels = Labels(np.random.default_rng(1), 100_000, is_even=True)
    reference = next(references(labels, 1, 100_000))
    calm, struck = (observe(reference.layout, [labels.rows(20_000, new)]) for new in (0.0, 0.005))
    assert len(calm.labels[0].hashes) <= MOST < len(reference.profile.labels[0].hashes)
    assert compare(reference, calm).p_values[0, ONE_LABEL] > 0.01
    assert compare(reference, struck).p_values[0, ONE_LABEL] < 1e-9


def test_a_label_that_was_rare_and_grows_is_found():
    labels = [str(i) for i in range(2000) for _ in range(5)]
    layout = Layout((category_axis(labels),))
    reference = Reference(observe(layout, [labels], most_labels=MOST_OF_REFERENCE))
    window = observe(layout, [[*labels[::20][:480], *["1999"] * 20]])
    assert compare(reference, window).p_values[0, ONE_LABEL] < 1e-9


def test_a_reference_whose_labels_were_not_counted_says_nothing_of_them():
    labels = [str(i) for i in range(500)] * 2
    layout = Layout((category_axis(labels),))
    whole = observe(layout, [labels])
    counts, sums, extremes, _ = whole.to_bytes()
    silent = Reference(Profile.from_bytes(layout, counts, sums, extremes, b""))
    assert compare(silent, observe(layout, [["499"] * 30])).p_values[0, ONE_LABEL] == 1.0


def test_labels_with_hours_of_their_own_raise_no_alarm_in_them_and_a_new_one_does():
    """A thousand labels, each of one hour of the day: pooled, any hour's would have come from nowhere."""
    generator = np.random.default_rng(2)

    def rows(hour: int, count: int = 300) -> list[str]:
        return [f"{hour % 24}/{i}" for i in generator.integers(0, 40, count)]

    layout = Layout((category_axis([label for hour in range(24) for label in rows(hour)]),))
    week = by_hour((hour, observe(layout, [rows(hour, 1200)])) for hour in range(HOURS))
    p, found = [], []
    for hour in range(0, HOURS, 3):
        reference = week.reference(np.arange(HOURS) == hour)
        p.append(compare(reference, observe(layout, [rows(hour)])).p_values[0, ONE_LABEL])
        found.append(
            compare(reference, observe(layout, [[*rows(hour), *["new"] * 6]])).p_values[0, ONE_LABEL]
        )
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 / len(p))
    assert np.mean(np.array(found) < 1e-3) >= 0.95
    pooled = Reference(week.pooled)
    assert compare(pooled, observe(layout, [rows(7)])).p_values[0, ONE_LABEL] < 0.01
