"""M2: the tests per column: nominal where nothing changed, and strong where something did."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from app.stats.axes import category_axis, numeric_axis
from app.stats.drift import Question, compare
from app.stats.effects import LEAST_SHARE, measure
from app.stats.labels import MOST_OF_REFERENCE
from app.stats.looks import allowance, looks_after
from app.stats.profile import Layout, Profile, observe
from app.stats.reference import Reference

ROWS, WINDOW = 10_000, 500
COLUMNS = {
    "normal": lambda r, n: r.normal(size=n),
    "lognormal": lambda r, n: r.lognormal(size=n),
    "zero-inflated": lambda r, n: r.lognormal(size=n) * (r.random(n) < 0.3),
    "integer": lambda r, n: r.poisson(3, n).astype(float),
}
CARDINALITIES = [3, 20, 300, 10_000, 100_000]


def labels(generator, count, cardinality):
    return list(map(str, generator.integers(0, cardinality, count)))


def drawn(generator, count):
    numbers = [draw(generator, count) for draw in COLUMNS.values()]
    return numbers + [labels(generator, count, each) for each in CARDINALITIES]


@pytest.fixture(scope="module")
def reference() -> Reference:
    columns = drawn(np.random.default_rng(1), ROWS)
    numbers, texts = columns[: len(COLUMNS)], columns[len(COLUMNS) :]
    layout = Layout((*map(numeric_axis, numbers), *map(category_axis, texts)))
    return Reference(observe(layout, columns, most_labels=MOST_OF_REFERENCE))


def p_values(reference, change=lambda columns: columns, count=WINDOW, times=200):
    generator = np.random.default_rng(2)
    return np.array(
        [
            compare(reference, observe(reference.layout, change(drawn(generator, count)))).p
            for _ in range(times)
        ]
    )


def test_nothing_changed_is_hardly_ever_called_a_change(reference):
    """Bonferroni makes each column's rate at most nominal; the margin is that of 200 windows."""
    rates = (p_values(reference) < 0.05).mean(axis=0)
    assert (rates <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)).all(), rates


@pytest.mark.parametrize("count", [8, 60, 20_000])
def test_small_and_large_windows_are_no_exception(reference, count):
    rates = (p_values(reference, count=count, times=40) < 0.01).mean(axis=0)
    assert (rates <= 0.01 + 4 * np.sqrt(0.01 * 0.99 / 40)).all(), rates


@pytest.mark.parametrize(
    ("change", "power"),
    [
        (lambda x, _: x + 0.2, 0.80),
        (lambda x, _: x * 1.2, 0.97),
        (lambda x, r: np.where(r.random(len(x)) < 0.01, x + 6, x), 0.75),
        (lambda x, r: np.where(r.random(len(x)) < 0.1, x[0], x), 0.97),
        (lambda x, r: np.where(r.random(len(x)) < 0.02, np.nan, x), 0.97),
        (lambda x, r: np.where(r.random(len(x)) < 0.02, np.inf, x), 0.97),
    ],
    ids=["mean", "spread", "outliers", "stuck value", "nulls", "infinities"],
)
def test_a_change_of_a_number_is_found_in_five_hundred_rows(reference, change, power):
    generator = np.random.default_rng(3)
    found = p_values(reference, lambda columns: [change(columns[0], generator), *columns[1:]])[:, 0]
    assert (found < 0.01).mean() >= power


def test_a_label_that_grows_and_one_that_is_new_are_found(reference):
    def change(columns):
        texts = [["0" if i % 4 == 0 else label for i, label in enumerate(c)] for c in columns[4:6]]
        new = [["new" if i % 50 == 0 else label for i, label in enumerate(c)] for c in columns[6:]]
        return [*columns[:4], *texts, *new]

    assert ((p_values(reference, change, times=60) < 0.01).mean(axis=0)[4:7] >= 0.95).all()


def test_dependent_rows_count_for_less(reference):
    rows = drawn(np.random.default_rng(4), WINDOW)
    window = observe(reference.layout, [rows[0] + 0.25, *rows[1:]])
    plain, deflated = compare(reference, window), compare(reference, window, design_effects=[3.0] + [1.0] * 8)
    assert plain.p[0] < deflated.p[0]
    assert plain.p[1:] == pytest.approx(deflated.p[1:])


def test_rows_of_the_reference_itself_are_no_drift_though_none_of_their_labels_is_new():
    """Customers that come back, a catalogue that is scored again: fewer new labels than a fresh sample would have."""
    texts = labels(np.random.default_rng(6), ROWS, 100_000)
    layout = Layout((category_axis(texts),))
    reference = Reference(observe(layout, [texts], most_labels=MOST_OF_REFERENCE))
    assert compare(reference, observe(layout, [texts[:4000]])).p[0] == 1.0


def test_values_that_go_missing_count_for_the_distance():
    generator = np.random.default_rng(8)
    whole, holed = generator.normal(size=(2, ROWS))
    holed[: ROWS // 5] = np.nan
    layout = Layout((numeric_axis(whole), numeric_axis(holed)))
    reference = Reference(observe(layout, [whole, holed]))
    rows = generator.normal(size=(2, 2000))
    same = measure(reference, observe(layout, [rows[0], np.where(np.arange(2000) < 400, np.nan, rows[1])]))
    gone = measure(reference, observe(layout, [rows[0], np.full(2000, np.nan)]))
    assert (same.distance < 0.05).all()
    share, whole_share = np.array([0.2, 0.8]), np.array([1.0, 0.0])
    assert gone.distance[1] == pytest.approx(jensenshannon(share, whole_share, 2), abs=0.01)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_stability_index_is_that_of_the_deciles_that_differ(name):
    generator = np.random.default_rng(9)
    was, now = COLUMNS[name](generator, ROWS), COLUMNS[name](generator, 4000) * 1.1
    layout = Layout((numeric_axis(was),))
    told = measure(Reference(observe(layout, [was])), observe(layout, [now])).psi[0]
    cuts = np.unique(layout.axes[0].edges[layout.axes[0].deciles])
    p, q = (
        np.bincount(np.searchsorted(cuts, rows, side="left"), minlength=len(cuts) + 1) / len(rows)
        for rows in (was, now)
    )
    p, q = (shares.clip(LEAST_SHARE) for shares in (p, q))
    assert told == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-9)


@pytest.mark.parametrize("values", [[0.1], [-0.7], [0.1, 0.2, 0.3, 0.7], [19.99, 4.95, 123453.8, 1e-9]])
def test_values_that_come_in_32_bits_are_the_same_values(values):
    generator = np.random.default_rng(11)
    was, now = generator.choice(values, 5000), generator.choice(values, 500)
    layout = Layout((numeric_axis(was),))
    reference = Reference(observe(layout, [was]))
    rounded = observe(layout, [now.astype(np.float32).astype(np.float64)])
    assert rounded.counts.tolist() == observe(layout, [now]).counts.tolist()
    assert compare(reference, rounded).p[0] > 0.01
    assert compare(reference, observe(layout, [now * 1.001])).p[0] < 1e-9


def test_a_constant_column_has_no_deviation_to_tell_a_shift_in():
    layout = Layout((numeric_axis(np.full(100, 3.0)),))
    told = measure(Reference(observe(layout, [np.full(100, 3.0)])), observe(layout, [np.arange(50.0)]))
    assert np.isnan([told.shift[0], told.spread[0], told.wasserstein[0]]).all()


@pytest.mark.parametrize("count", [20, 100, 1000])
def test_the_largest_distance_of_many_columns_is_proven_only_as_such(count):
    """The lower ends for all columns together are above 0 hardly ever, in small windows as well."""
    generator, lows = np.random.default_rng(10), []
    for _ in range(40):
        rows = [draw(generator, 5000) for draw in [*COLUMNS.values()] * 5]
        layout = Layout(tuple(map(numeric_axis, rows)))
        reference = Reference(observe(layout, rows))
        for _ in range(5):
            window = [draw(generator, count) for draw in [*COLUMNS.values()] * 5]
            lows.append(measure(reference, observe(layout, window)).low_of_all.max() > 0)
    assert np.mean(lows) <= 0.025 + 3 * np.sqrt(0.025 / 200)


@pytest.mark.parametrize("count", [50, 200, 400, 1000])
@pytest.mark.parametrize("most", [1000, 100_000])
def test_a_rare_label_that_happens_to_be_there_is_no_proof(count, most):
    """Of so many equally frequent labels hardly a row is expected in any group."""
    generator, lows = np.random.default_rng(11), []
    for _ in range(10):
        was = generator.integers(0, most, 20_000).astype(str).tolist()
        layout = Layout((category_axis(was),))
        reference = Reference(observe(layout, [was]))
        for _ in range(30):
            now = generator.choice(was, count).tolist()
            lows.append(measure(reference, observe(layout, [now])).low_of_all[0] > 0)
    assert np.mean(lows) <= 0.025 + 3 * np.sqrt(0.025 / 300)


def test_the_lower_end_of_a_distance_still_tells_a_label_that_takes_over():
    generator = np.random.default_rng(12)
    was = generator.integers(0, 100_000, 20_000).astype(str).tolist()
    axis = category_axis(was)
    now = [*generator.choice(was, 100).tolist(), *[axis.top[3]] * 100]
    layout = Layout((axis,))
    told = measure(Reference(observe(layout, [was])), observe(layout, [now]))
    assert 0.4 < told.low_of_all[0] <= told.distance_low[0] < told.distance[0] < told.distance_high[0]


def test_a_window_without_rows_says_nothing(reference):
    comparison = compare(reference, Profile.empty(reference.layout))
    assert (comparison.p == 1.0).all()


def test_a_column_that_vanished_is_found_by_its_nulls(reference):
    window = observe(reference.layout, [np.full(40, np.nan), *drawn(np.random.default_rng(5), 40)[1:]])
    comparison = compare(reference, window)
    assert comparison.p[0] < 1e-12
    assert Question(list(Question)[int(comparison.p_values[0].argmin())]) is Question.NULLS


def test_a_constant_column_that_stays_is_silent_and_one_that_moves_is_not():
    layout = Layout((numeric_axis(np.full(1000, 3.0)),))
    reference = Reference(observe(layout, [np.full(1000, 3.0)]))
    assert compare(reference, observe(layout, [np.full(300, 3.0)])).p[0] == 1.0
    assert compare(reference, observe(layout, [np.full(300, 3.1)])).p[0] < 1e-12


@pytest.mark.parametrize("rows", [10, 30, 100])
def test_a_reference_of_few_rows_raises_no_alarm(rows):
    generator = np.random.default_rng(6)
    rates = []
    for _ in range(200):
        few = generator.normal(size=rows)
        layout = Layout((numeric_axis(few),))
        window = observe(layout, [generator.normal(size=500)])
        rates.append(compare(Reference(observe(layout, [few])), window).p[0] < 0.01)
    assert np.mean(rates) <= 0.01 + 3 * np.sqrt(0.01 / 200)


def test_profiles_of_other_axes_are_not_compared(reference):
    other = Layout((numeric_axis(np.arange(10.0)),))
    for ask in (compare, measure):
        with pytest.raises(ValueError, match="axes"):
            ask(reference, Profile.empty(other))
    with pytest.raises(ValueError, match="without rows"):
        Reference(Profile.empty(other))


def test_the_distance_is_free_of_what_sampling_adds_and_its_interval_holds():
    """Undrifted, 50 columns at n = 500: raw distances reach .27; at a true distance of .206 the interval holds 95 %."""
    generator = np.random.default_rng(7)
    rows = generator.normal(size=(ROWS, 50))
    layout = Layout(tuple(numeric_axis(column) for column in rows.T))
    reference = Reference(observe(layout, list(rows.T)))
    null = [measure(reference, observe(layout, list(generator.normal(size=(500, 50)).T))) for _ in range(20)]
    assert np.mean([each.distance.max() for each in null]) < 0.1
    assert np.mean([each.distance_low > 0 for each in null]) < 0.05
    moved = [
        measure(reference, observe(layout, list(generator.normal(0.5, size=(500, 50)).T))) for _ in range(20)
    ]
    covered = [(each.distance_low <= 0.206) & (each.distance_high >= 0.206) for each in moved]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)
    assert np.mean([each.distance for each in moved]) == pytest.approx(0.206, abs=0.01)


def test_windows_are_dyadic_and_their_shares_stay_within_the_budget():
    spent = sum(allowance(look, 0.05) for bucket in range(4096) for look in looks_after(bucket))
    assert 0.03 < spent < 0.05
    with pytest.raises(ValueError, match="counted from 0"):
        list(looks_after(-1))
    with pytest.raises(ValueError, match="between 0 and 1"):
        allowance(next(looks_after(0)), 1.0)


@pytest.mark.parametrize("effect", [1.0, 30.0, 500.0])
def test_rows_that_count_for_next_to_nothing_prove_nothing(effect):
    """All in the middle: the law that is fitted to their squares says that they can't be there."""
    sample = np.random.default_rng(31).normal(size=3000)
    layout = Layout((numeric_axis(sample),))
    reference = Reference(observe(layout, [sample]))
    for values in ([0.0], [-0.5, -0.5], [0.01] * round(1 + effect / 20)):
        window = observe(layout, [np.array(values)])
        assert compare(reference, window, design_effects=[effect]).p[0] > 1e-3


@pytest.mark.parametrize("count", [5, 10, 20, 50, 100, 200])
def test_small_windows_of_lumpy_columns_are_as_silent_as_large_ones(count):
    """Rare values, heavy tails, a single value nearly everywhere: where chi-squared and fitted moments go wrong."""
    generator = np.random.default_rng(count)
    whole = 20_000
    table = [
        generator.normal(size=whole),
        generator.standard_cauchy(whole),
        generator.lognormal(size=whole) * (generator.random(whole) < 0.3),
        (generator.random(whole) < 0.002).astype(float),
        np.where(generator.random(whole) < 0.01, generator.normal(size=whole) * 50, 0.0),
        generator.choice(4, whole, p=[0.002, 0.46, 0.528, 0.01]).astype(float),
        generator.poisson(0.3, whole).astype(float),
        np.exp(generator.standard_t(2, whole).clip(-9, 9)),
    ]
    layout = Layout(tuple(numeric_axis(column[: whole // 2]) for column in table))
    reference = Reference(observe(layout, [column[: whole // 2] for column in table]))
    places = generator.integers(0, whole, (1500, count))
    p = np.array(
        [compare(reference, observe(layout, [column[rows] for column in table])).p for rows in places]
    )
    for level in (0.01, 0.001, 0.0001):
        assert (p < level).mean() <= level + 4 * np.sqrt(level / p.size)
    assert p.min() > 1e-3 / p.size
