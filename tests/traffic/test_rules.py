"""D2, D3, X1: a split of traffic is exact, sticks to its callers, and moves as few of them as it can."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.ids import new_id
from app.traffic.rules import (
    BUCKETS,
    MOST_ARMS,
    UNOWNED,
    Arm,
    Layer,
    Shadow,
    apportion,
    bucket_of,
    carry_over,
    check_arms,
    check_shadows,
    count_owned,
    layer_salt,
    owner_table,
    rebalance,
)

ONE, TWO, THREE = new_id(), new_id(), new_id()


@st.composite
def splits(draw, arms):
    """Weights of so many arms that add up to 1, some of them 0."""
    parts = draw(st.lists(st.integers(0, 1000), min_size=arms, max_size=arms).filter(any))
    return [part / sum(parts) for part in parts]


histories = st.integers(1, 6).flatmap(lambda arms: st.lists(splits(arms), min_size=2, max_size=6))


@given(histories)
def test_every_bucket_always_has_an_owner_and_every_arm_its_share(history):
    owners = UNOWNED
    for weights in history:
        owners = rebalance(owners, weights)
        assert count_owned(owners, len(weights)) == apportion(weights)
        assert sum(length for _, length in owners) == BUCKETS
        assert all(length > 0 for _, length in owners)
        assert all(left[0] != right[0] for left, right in pairwise(owners))


@given(histories)
def test_no_more_buckets_move_than_must(history):
    owners = rebalance(UNOWNED, history[0])
    for weights in history[1:]:
        following = rebalance(owners, weights)
        moved = sum(a != b for a, b in zip(owner_table(owners), owner_table(following), strict=True))
        due = zip(count_owned(owners, len(weights)), apportion(weights), strict=True)
        assert moved == sum(abs(was - now) for was, now in due) // 2
        owners = following


@given(st.lists(st.integers(0, BUCKETS), min_size=2, max_size=6).map(sorted))
def test_who_is_in_a_small_canary_stays_in_every_larger_one(rungs):
    owners, inside = rebalance(UNOWNED, [1.0, 0.0]), set()
    for rung in rungs:
        owners = rebalance(owners, [1 - rung / BUCKETS, rung / BUCKETS])
        within = {bucket for bucket, arm in enumerate(owner_table(owners)) if arm == 1}
        assert inside <= within
        inside = within


@given(st.integers(1, 8).flatmap(splits))
def test_an_arm_gets_its_weight_to_within_one_bucket(weights):
    counts = apportion(weights)
    assert sum(counts) == BUCKETS
    assert all(abs(count - weight * BUCKETS) < 1 for count, weight in zip(counts, weights, strict=True))
    assert all(count == 0 for count, weight in zip(counts, weights, strict=True) if weight == 0)


def test_runs_that_are_not_exactly_the_buckets_are_refused():
    with pytest.raises(ValueError, match="10000 buckets"):
        rebalance(((0, BUCKETS - 1),), [1.0])


def test_a_version_that_is_promoted_from_canary_to_champion_keeps_its_callers():
    before = [Arm("champion", ONE, 0.5), Arm("canary", TWO, 0.5)]
    after = [Arm("champion", TWO, 0.7), Arm("canary", THREE, 0.3)]
    owners = rebalance(UNOWNED, [0.5, 0.5])
    following = rebalance(carry_over(owners, before, after), [0.7, 0.3])
    was, now = owner_table(owners), owner_table(following)
    assert all(now[bucket] == 0 for bucket in range(BUCKETS) if was[bucket] == 1)


def test_an_arm_whose_version_is_replaced_keeps_its_callers_by_its_name():
    before = [Arm("a", ONE, 0.4), Arm("b", TWO, 0.6)]
    after = [Arm("b", THREE, 0.6), Arm("a", ONE, 0.4)]
    owners = rebalance(UNOWNED, [0.4, 0.6])
    assert carry_over(owners, before, after) == ((1, 4000), (0, 6000))


def test_the_buckets_of_an_arm_that_is_gone_go_to_those_that_grow():
    before = [Arm("a", ONE, 0.5), Arm("b", TWO, 0.5)]
    after = [Arm("c", TWO, 1.0)]
    assert rebalance(carry_over(((0, 5000), (1, 5000)), before, after), [1.0]) == ((0, BUCKETS),)


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([], "between 1 and 100 arms"),
        ([1 / 101] * (MOST_ARMS + 1), "between 1 and 100 arms"),
        ([0.5, 0.4], "add up to 0.9"),
        ([0.0, 0.0], "add up to 0,"),
        ([0.5, 0.5 + 1e-8], "not to 1"),
        ([1.5, -0.5], "'arm 0' has the weight 1.5"),
        ([0.5, math.nan], "'arm 1' has the weight nan"),
        ([math.inf, 0.0], "'arm 0' has the weight inf"),
        ([0.99999, 0.00001], "'arm 1' .* smallest share"),
    ],
)
def test_weights_that_split_nothing_are_refused_by_name(weights, problem):
    arms = [Arm(f"arm {i}", new_id(), weight) for i, weight in enumerate(weights)]
    with pytest.raises(ValueError, match=problem):
        check_arms(arms)


def test_two_arms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'a' is named twice"):
        check_arms([Arm("a", ONE, 0.5), Arm("a", TWO, 0.5)])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [0.1] * 10, [1 / 3] * 3, [0.9999, 0.0001]])
def test_weights_that_add_up_are_accepted(weights):
    check_arms([Arm(str(i), new_id(), weight) for i, weight in enumerate(weights)])


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, math.nan])
def test_a_shadow_scores_some_share_of_the_requests(share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        check_shadows([Shadow(ONE, share)])


def test_a_version_shadows_once():
    check_shadows([Shadow(ONE), Shadow(TWO, 0.1)])
    with pytest.raises(ValueError, match="twice"):
        check_shadows([Shadow(ONE), Shadow(ONE, 0.5)])


def test_buckets_are_even_and_those_of_two_layers_have_nothing_to_do_with_each_other():
    salts = [layer_salt(b"route", layer) for layer in (Layer.VARIANT, Layer.ENROLMENT)]
    keys = [f"user-{i}".encode() for i in range(20_000)]
    halves = [[bucket_of(key, salt) < BUCKETS // 2 for key in keys] for salt in salts]
    both = sum(a and b for a, b in zip(*halves, strict=True))
    assert all(abs(sum(half) - 10_000) < 300 for half in halves)
    assert abs(both - 5_000) < 300
