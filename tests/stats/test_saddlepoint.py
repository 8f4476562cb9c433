"""M2: far tails of sums of scores under permutation, beside exact ones."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from app.stats.saddlepoint import upper_tails

MANY, RARE = 9900.0, 100.0


@pytest.mark.parametrize(("size", "seen"), [(20, 2), (20, 4), (500, 15), (500, 25), (5000, 70), (5000, 90)])
def test_of_two_scores_the_tail_is_that_of_counts(size, seen):
    """The approximation knows no jumps: on a lattice it lies between the chance of more, and of as many or more."""
    exact = hypergeom.sf(seen - 1, MANY + RARE, RARE, size), hypergeom.sf(seen, MANY + RARE, RARE, size)
    [tail] = upper_tails(
        np.array([[0.0, 5.0]]), np.array([[MANY, RARE]]), np.array([[size - seen, seen]], float)
    )
    assert exact[1] < tail < exact[0]


def test_of_many_scores_it_is_what_drawing_shows():
    generator = np.random.default_rng(1)
    scores, pooled = np.arange(8.0) ** 2, np.array([400.0, 300, 200, 100, 50, 20, 8, 4])
    rows = np.repeat(scores, pooled.astype(int))
    sums = np.array([generator.choice(rows, 30, replace=False).sum() for _ in range(20_000)])
    for level in (0.9, 0.99, 0.999):
        at = np.quantile(sums, level)
        now = np.zeros(8)
        now[0], now[1] = 30 - at, at  # any window with this sum
        [tail] = upper_tails(scores[np.newaxis], pooled[np.newaxis], now[np.newaxis])
        assert tail == pytest.approx((sums >= at).mean(), rel=0.25)


def test_what_has_no_tail_is_1():
    bins = np.array([[1.0, 2.0]])
    constant, empty, whole = (
        (np.ones((1, 2)), np.array([[5.0, 5.0]]), np.array([[1.0, 1.0]])),
        (bins, np.array([[5.0, 5.0]]), np.zeros((1, 2))),
        (bins, np.array([[5.0, 5.0]]), np.array([[5.0, 5.0]])),
    )
    assert [upper_tails(*each)[0] for each in (constant, empty, whole)] == [1.0] * 3
