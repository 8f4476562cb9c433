"""M1: profiles in fixed bins: exact merging, exact deciles, a bounded error of the Kolmogorov–Smirnov statistic."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from app.stats.axes import BINS, OTHER, UNSEEN, category_axis, numeric_axis
from app.stats.effects import coarse
from app.stats.labels import write_all
from app.stats.profile import ABOVE, BELOW, NOT_FINITE, NULL, Layout, Profile, merge, observe

numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)
LAYOUT = Layout((numeric_axis(np.arange(1000.0)), category_axis(["a"] * 5 + ["b"] * 3 + ["c"])))


def same(a: Profile, b: Profile) -> bool:
    return (
        np.array_equal(a.counts, b.counts)
        and np.array_equal(a.sums, b.sums)
        and np.array_equal(a.extremes, b.extremes)
        and write_all(a.labels) == write_all(b.labels)
    )


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(numbers, st.none() | st.sampled_from("abcd")), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_parts_in_any_order_make_the_profile_of_all_rows_bit_for_bit(rows, cuts, order):
    def profile(part):
        return observe(LAYOUT, [np.array([x for x, _ in part]), [label for _, label in part]])

    ends = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
    parts = [profile(rows[a:b]) for a, b in pairwise(ends)]
    order.shuffle(parts)
    assert same(merge(parts), profile(rows))


def test_profiles_of_other_axes_do_not_merge():
    other = Layout((numeric_axis(np.arange(999.0)), LAYOUT.axes[1]))
    with pytest.raises(ValueError, match="layouts"):
        merge([Profile.empty(LAYOUT), Profile.empty(other)])
    with pytest.raises(ValueError, match="nothing"):
        merge([])


def test_what_is_no_number_is_counted_beside_the_bins():
    profile = observe(LAYOUT, [np.array([np.nan, np.inf, -np.inf, -1.0, 5.0, 1e308]), [None] * 6])
    assert profile.counts[0, [NULL, NOT_FINITE, BELOW, ABOVE]].tolist() == [1, 2, 1, 1]
    assert profile.sizes.tolist() == [3, 0]
    assert profile.extremes[0].tolist() == [-1.0, 1e308]


def test_labels_are_top_other_or_new():
    labels = [f"l{i:03}" for i in range(200) for _ in range(200 - i)]
    axis = category_axis(labels)
    counts, beyond = axis.count(["l000", "l000", "l150", "never"])
    assert (counts[0], counts[OTHER], counts[UNSEEN]) == (2, 1, 1)
    assert counts[: UNSEEN + 1].sum() == counts[UNSEEN + 1 :].sum() == 4
    assert beyond.counts.tolist() == [1, 1]
    assert axis.distinct == 200
    assert axis.singles == 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda r, n: r.normal(size=n),
        lambda r, n: r.lognormal(sigma=2, size=n),
        lambda r, n: r.lognormal(size=n) * (r.random(n) < 0.3),
        lambda r, n: r.poisson(2, n).astype(float),
        lambda r, n: np.full(n, 7.0),
    ],
)
def test_the_error_of_the_binned_ks_statistic_is_at_most_the_largest_bin(draw):
    generator = np.random.default_rng(3)
    reference, window = draw(generator, 5000), draw(generator, 700) * 1.1
    layout = Layout((numeric_axis(reference),))
    was, now = (observe(layout, [rows]).counts[0, :BINS] for rows in (reference, window))
    shares = np.array([was / was.sum(), now / now.sum()])
    binned = np.abs(np.diff(shares.cumsum(axis=1), axis=0)).max()
    exact = ks_2samp(reference, window).statistic
    assert exact - shares.max() - 1e-12 <= binned <= exact + 1e-12


def test_on_smooth_data_the_binned_ks_statistic_is_the_exact_one_to_a_thousandth():
    generator = np.random.default_rng(4)
    reference, window = generator.normal(size=100_000), generator.normal(0.1, size=20_000)
    layout = Layout((numeric_axis(reference),))
    was, now = (observe(layout, [rows]).counts[0, :BINS] for rows in (reference, window))
    binned = np.abs(was.cumsum() / was.sum() - now.cumsum() / now.sum()).max()
    assert abs(binned - ks_2samp(reference, window).statistic) <= 0.001


def test_the_deciles_are_exact():
    generator = np.random.default_rng(5)
    reference, window = generator.lognormal(size=4321), generator.lognormal(0.2, size=987)
    layout = Layout((numeric_axis(reference),))
    deciles = np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf")
    for rows in (reference, window):
        places = np.searchsorted(deciles, rows, side="left")
        assert coarse(observe(layout, [rows]))[0, :10].tolist() == np.bincount(places, minlength=10).tolist()


def test_moments_survive_the_fixed_point():
    rows = np.random.default_rng(6).normal(1e6, 3.0, size=5000)
    layout = Layout((numeric_axis(rows),))
    mean, variance = observe(layout, [rows]).moments(0)
    assert mean == pytest.approx(rows.mean(), abs=1e-5)
    assert variance == pytest.approx(rows.var(ddof=1), rel=1e-4)
    with pytest.raises(ValueError, match="at least two"):
        observe(layout, [rows[:1]]).moments(0)


def test_a_reference_of_nothing_has_no_axis():
    with pytest.raises(ValueError, match="finite"):
        numeric_axis([np.nan, np.inf])
    with pytest.raises(ValueError, match="columns for"):
        observe(LAYOUT, [np.zeros(3)])


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, width=64)
        | st.sampled_from([1e308, -1e308, 5e-324, 1e151]),
        min_size=2,
    )
)
def test_any_finite_numbers_make_a_finite_axis_and_finite_moments(values):
    axis = numeric_axis(values)
    assert np.isfinite([*axis.edges, axis.centre, axis.scale, axis.low, axis.high]).all()
    assert (np.diff(axis.edges) > 0).all()
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    profile = observe(Layout((axis,)), [np.array(values)])
    assert profile.counts[0, :BINS].sum() == len(values)
    assert profile.counts[0, [BELOW, ABOVE]].tolist() == [0, 0]
    assert np.isfinite(profile.moments(0)).all()
