"""Has a column's distribution changed? Every question that bins can answer, of all columns at once.

Each p-value compares a window with the reference as two samples of one distribution. They are made for the far tails
that a lifetime of looks needs: rank tests are corrected for skewness, rare events are counted exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.stats import questions
from app.stats.profile import NOT_FINITE, NULL, Profile
from app.stats.questions import Pair
from app.stats.reference import Floats, Reference


class Question(StrEnum):
    """What a column is asked; `Comparison.p_values` has one column for each, in this order."""

    LOCATION = "location"  # normal scores (van der Waerden)
    SCALE = "scale"  # squared normal scores (Klotz)
    SHAPE = "shape"  # Kolmogorov–Smirnov on the bins
    GROUPS = "groups"  # chi-squared on sixteen groups
    LARGEST_BIN = "largest_bin"  # one bin alone: a value that is stuck, a label that grew
    TAILS = "tails"  # beyond what one in a thousand rows of the reference held
    RANGE = "range"  # beyond everything that it held
    NEW_LABELS = "new_labels"
    ONE_LABEL = "one_label"  # of those that have no bin of their own
    NULLS = "nulls"
    NOT_FINITE = "not_finite"


NUMERIC = frozenset(Question) - {Question.NEW_LABELS, Question.ONE_LABEL}
LABELLED = frozenset(
    {Question.GROUPS, Question.LARGEST_BIN, Question.NEW_LABELS, Question.ONE_LABEL, Question.NULLS}
)
_OF_NUMBERS = np.array([question in NUMERIC for question in Question])
_OF_LABELS = np.array([question in LABELLED for question in Question])
_PLACES = {test: i for i, test in enumerate(Question)}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A window held against the reference.

    Attributes:
        p_values: shape (columns, tests), 1 where a test makes no sense or has nothing to say.
        p: for each column the least of them times the number of those that had anything to answer with: the chance
            of any, had nothing changed.
    """

    p_values: Floats
    p: Floats


def compare(
    reference: Reference, window: Profile, *, design_effects: Sequence[float] | Floats = (1.0,)
) -> Comparison:
    """Test every column of a window against the reference.

    Args:
        reference: what was.
        window: what is, counted along the same layout.
        design_effects: for each column (or all) by how much dependence between rows raises the variance of a mean: a
            row counts for 1 / effect (Kish, Survey Sampling, 1965, 8.2). At least 1.

    Raises:
        ValueError: the layouts differ.

    >>> from app.stats.axes import numeric_axis
    >>> from app.stats.profile import Layout, observe
    >>> normal = np.random.default_rng(1).normal(size=10_500)
    >>> layout = Layout((numeric_axis(normal[:10_000]),))
    >>> reference = Reference(observe(layout, [normal[:10_000]]))
    >>> same = compare(reference, observe(layout, [normal[10_000:]]))
    >>> moved = compare(reference, observe(layout, [normal[10_000:] + 0.5]))
    >>> bool(same.p[0] > 0.05), bool(moved.p[0] < 1e-9)
    (True, True)
    """
    if window.layout is not reference.layout and window.layout != reference.layout:
        raise ValueError("a window is compared with the reference whose axes it was counted along")
    effects = np.broadcast_to(np.asarray(design_effects, np.float64), (len(window.counts),)).clip(1.0)
    pair = Pair(reference, window, effects)
    p_values = np.ones((len(window.counts), len(Question)))
    for test, ask in _ANSWERS.items():
        p_values[:, _PLACES[test]] = ask(pair)
    is_asked = _asked(pair)
    p_values[~is_asked] = 1.0
    p_values[pair.is_empty] = 1.0
    asked = is_asked.sum(axis=1)
    return Comparison(p_values, np.minimum(1.0, p_values.min(axis=1) * asked))


def _asked(pair: Pair) -> NDArray[np.bool_]:
    """Which questions make sense for which column, shape (columns, questions).

    One about what occurs in neither sample can't have raised an alarm, and isn't counted (Tarone, Biometrics 46, 1990).
    """
    asked = np.where(pair.reference.is_numeric[:, np.newaxis], _OF_NUMBERS, _OF_LABELS)
    seen = pair.counts + pair.reference.profile.counts
    for question, cell in ((Question.NULLS, NULL), (Question.NOT_FINITE, NOT_FINITE)):
        asked[:, _PLACES[question]] &= seen[:, cell] > 0
    for i, was, now in zip(
        pair.reference.layout.labelled, pair.reference.profile.labels, pair.labels, strict=True
    ):
        asked[i, _PLACES[Question.ONE_LABEL]] &= len(was.hashes) + len(now.hashes) > 0
    return asked


_ANSWERS = {
    Question.LOCATION: questions.location,
    Question.SCALE: questions.scale,
    Question.SHAPE: questions.shape,
    Question.GROUPS: questions.groups,
    Question.LARGEST_BIN: questions.largest_bin,
    Question.TAILS: questions.tails,
    Question.RANGE: questions.beyond_range,
    Question.NEW_LABELS: questions.new_labels,
    Question.ONE_LABEL: questions.one_label,
    Question.NULLS: questions.nulls,
    Question.NOT_FINITE: questions.not_finite,
}
