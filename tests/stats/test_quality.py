"""M4: flaws count beyond what is usual and beyond chance, and the score says what it says it does."""

import numpy as np
import pytest

from app.stats.axes import category_axis, numeric_axis
from app.stats.profile import Layout, Profile, observe
from app.stats.quality import FLAWS, Flaw, find_flaws, score

COLUMNS = 50


def mixed(generator, rows):
    """Normal, lognormal, often missing, whole numbers, labels with a long tail."""
    often_missing = np.where(generator.random((10, rows)) < 0.3, np.nan, generator.normal(size=(10, rows)))
    return [
        *generator.normal(size=(10, rows)),
        *generator.lognormal(sigma=2.0, size=(10, rows)),
        *often_missing,
        *generator.poisson(3.0, size=(10, rows)).astype(float),
        *([f"label {k}" for k in labels] for labels in generator.zipf(1.5, size=(10, rows))),
    ]


@pytest.fixture(scope="module")
def reference():
    columns = mixed(np.random.default_rng(1), 4000)
    axes = [category_axis(each) if isinstance(each, list) else numeric_axis(each) for each in columns]
    return observe(Layout(tuple(axes)), columns)


def test_rows_as_usual_have_a_quality_of_one(reference):
    generator = np.random.default_rng(2)
    scores = [
        score(find_flaws(reference, observe(reference.layout, mixed(generator, rows))).flawed)
        for rows in [50, 500, 5000] * 40
    ]
    assert min(scores) > 0.97
    assert np.median(scores) > 0.995


def spoiled(kind, values):
    """A column of which two fifths are spoiled."""
    if isinstance(values, list):
        worse = {Flaw.MISSING: None, Flaw.NEW_CATEGORY: "never seen"}[kind]
        return [worse if i % 5 < 2 else value for i, value in enumerate(values)]
    worse = {Flaw.MISSING: np.nan, Flaw.NOT_FINITE: np.inf, Flaw.BELOW_RANGE: -1e6, Flaw.ABOVE_RANGE: 1e6}[
        kind
    ]
    return np.where(np.arange(len(values)) % 5 < 2, worse, values)


@pytest.mark.parametrize(
    ("kind", "column"),
    [*((kind, 0) for kind in FLAWS[:4]), (Flaw.MISSING, 45), (Flaw.NEW_CATEGORY, 45)],
)
def test_one_spoiled_column_of_fifty_lowers_the_score_by_its_share(reference, kind, column):
    columns = mixed(np.random.default_rng(3), 1000)
    columns[column] = spoiled(kind, columns[column])
    flaws = find_flaws(reference, observe(reference.layout, columns))
    assert flaws.shares[column, FLAWS.index(kind)] == pytest.approx(
        0.4, abs=0.05
    )  # and some labels were new anyway
    assert score(flaws.flawed) == pytest.approx(0.6, abs=0.08)
    assert np.argmax(flaws.flawed) == column


def test_what_was_always_missing_is_no_flaw_and_what_is_missing_more_often_is(reference):
    columns = mixed(np.random.default_rng(4), 2000)
    columns[20] = np.where(np.arange(2000) % 2 == 0, np.nan, columns[20])
    flaws = find_flaws(reference, observe(reference.layout, columns))
    assert flaws.flawed[21] == 0.0
    assert 0.25 < flaws.flawed[20] < 0.36  # 65 % are missing where 30 % were


@pytest.mark.parametrize("rows", [1, 2, 10])
def test_a_small_reference_takes_little_for_a_flaw(rows):
    layout = Layout((numeric_axis(np.arange(float(rows))),))
    was = observe(layout, [np.arange(float(rows))])
    assert find_flaws(was, observe(layout, [np.full(100, 0.0)])).flawed[0] == 0.0
    if rows < 10:
        assert find_flaws(was, observe(layout, [np.full(100, 50.0)])).flawed[0] == 0.0


def test_a_reference_without_numbers_expects_none_and_knows_no_range():
    layout = Layout((numeric_axis([0.0]),))
    was = observe(layout, [np.full(100, np.nan)])
    assert find_flaws(was, observe(layout, [np.full(100, np.nan)])).flawed[0] == 0.0
    assert find_flaws(was, observe(layout, [np.full(100, 3.0)])).flawed[0] == 0.0


def test_what_is_undefined_raises(reference):
    with pytest.raises(ValueError, match="without values"):
        find_flaws(reference, Profile.empty(reference.layout))
    other = Layout((numeric_axis([1.0]),))
    with pytest.raises(ValueError, match="different axes"):
        find_flaws(reference, observe(other, [np.ones(3)]))
    with pytest.raises(ValueError, match="share"):
        score(np.array([0.5]), refused=1.5)


def test_the_score_is_the_largest_share_of_rows_that_can_be_without_a_flaw():
    assert score(np.array([])) == 1.0
    assert score(np.array([0.1, 0.5]), refused=0.2, repeated=0.25) == pytest.approx(0.8 * 0.75 * 0.5)
