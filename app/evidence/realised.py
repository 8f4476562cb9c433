"""What came true of the rows of a stretch of time, as sums that add up: nobody reads the rows themselves again.

Whoever makes or reads them does so in a thread: the statistics behind them bring SciPy along.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from math import ceil, log2
from operator import add
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from app.runtimes.groups import numbers
from app.runtimes.schema import ColumnType, Label, Signature, Task

if TYPE_CHECKING:
    from app.stats.error_sums import ErrorSums
    from app.stats.loss_dependence import LossSums
    from app.stats.score_counts import ScoreCounts

MOST_SCORED_CLASSES = 20
"""Each class has a histogram of its own; of models with more of them only the log loss is kept."""
TRUE_CLASS = ""
"""Where the probabilities stand that were given to whatever came true; no label as JSON is empty."""
_FASTEST_SECONDS = 1.0
_Pairs = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Scale:
    """In which unit a version's errors are summed; one for its whole life, so that sums add up."""

    centre: float
    unit: float


@dataclass(frozen=True)
class Realised:
    """Sums over some rows of one version.

    Attributes:
        rows: that were answered.
        labelled: those of them whose true answer is known.
        answers: how often each label was answered, as JSON; of all rows, and only where answers are labels.
        pairs: how often each label, as JSON, came true where each was answered.
        scores: by label, as JSON, how its probabilities were distributed over rows of that class and of others.
        errors: of a regression.
        delays: how many labels came within 2ⁿ seconds, and not within half as many; corrected ones are left out.
    """

    rows: int = 0
    labelled: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    pairs: _Pairs = field(default_factory=Counter)
    scores: Mapping[str, "ScoreCounts"] = field(default_factory=dict)
    errors: "ErrorSums | None" = None
    delays: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: "Realised") -> "Realised":
        errors = [sums for sums in (self.errors, other.errors) if sums is not None]
        shared = self.scores.keys() & other.scores.keys()
        return Realised(
            self.rows + other.rows,
            self.labelled + other.labelled,
            self.answers + other.answers,
            self.pairs + other.pairs,
            {**self.scores, **other.scores, **{key: self.scores[key] + other.scores[key] for key in shared}},
            reduce(add, errors) if errors else None,
            self.delays + other.delays,
        )

    def delay_seconds(self, share: float) -> float | None:
        """Within how many seconds this share of the labels came; None while there are none."""
        wanted, so_far = share * self.delays.total(), 0
        for power in sorted(self.delays):
            so_far += self.delays[power]
            if so_far >= wanted:
                return float(2**power)
        return None

    def loss_sums(self) -> "tuple[LossSums, ...]":
        """The losses of labelled rows: whether a label was wrong; of a regression the size and the square of the error, in units."""
        from app.stats.loss_dependence import LossSums  # noqa: PLC0415 - and SciPy with it

        errors = self.errors
        if errors is None:
            rows, wrong = self.loss()
            return (LossSums(rows, wrong, wrong),)
        powers = (("abs_e", "e2"), ("e2", "e4"))
        return tuple(LossSums(errors.rows, *map(errors.total, pair)) for pair in powers)

    def loss(self) -> tuple[int, float]:
        """How many labelled rows have one, and the sum of them: 1 for a wrong label, the size of a regression's error."""
        if self.errors is not None:
            rows = self.errors.rows
            return rows, rows * self.errors.unit * self.errors.per_row("abs_e") if rows else 0.0
        wrong = sum(count for (actual, predicted), count in self.pairs.items() if actual != predicted)
        return self.pairs.total(), float(wrong)

    def to_json(self) -> dict[str, Any]:
        """All but the two numbers that have columns of their own; `from_json` reads it back."""
        return {
            "answers": dict(self.answers),
            "pairs": [[*pair, count] for pair, count in self.pairs.items()],
            "scores": {label: _counts_to_json(counts) for label, counts in self.scores.items()},
            "errors": None if self.errors is None else asdict(self.errors),
            "delays": [[power, count] for power, count in self.delays.items()],
        }

    @classmethod
    def from_json(cls, rows: int, labelled: int, stored: Mapping[str, Any]) -> Self:
        """The sums that were stored."""
        from app.stats.error_sums import ErrorSums  # noqa: PLC0415 - and SciPy with it

        return cls(
            rows,
            labelled,
            Counter(stored["answers"]),
            Counter({(actual, predicted): count for actual, predicted, count in stored["pairs"]}),
            {label: _counts_from_json(counts) for label, counts in stored["scores"].items()},
            None if stored["errors"] is None else ErrorSums(**stored["errors"]),
            Counter(dict(stored["delays"])),
        )


def add_up(parts: Iterable[Realised]) -> Realised:
    """All of them together."""
    return reduce(add, parts, Realised())


def _counts_to_json(counts: "ScoreCounts") -> list[Any]:
    """Most bins of a short while are empty."""
    return [_sparse(counts.positives), _sparse(counts.negatives), counts.unusable]


def _sparse(counts: NDArray[np.int64]) -> list[list[int]]:
    bins = np.flatnonzero(counts)
    return [bins.tolist(), counts[bins].tolist()]


def _counts_from_json(stored: Sequence[Any]) -> "ScoreCounts":
    from app.stats.score_counts import PROBABILITY_EDGES, ScoreCounts  # noqa: PLC0415 - and SciPy with it

    positives, negatives, unusable = stored
    size = len(PROBABILITY_EDGES) + 1
    return ScoreCounts(PROBABILITY_EDGES, _dense(positives, size), _dense(negatives, size), unusable)


def _dense(stored: Sequence[list[int]], size: int) -> NDArray[np.int64]:
    bins, counts = stored
    dense = np.zeros(size, np.int64)
    dense[bins] = counts
    return dense


@dataclass(frozen=True)
class Labelled:
    """Answered rows with what came true of them; each list has one entry for a row.

    Attributes:
        actual, predicted: what came true and what was answered.
        probabilities: of the signature's classes in order; None where the model gives none.
        delays: seconds from the answer to its label; None where the label was corrected since.
    """

    actual: Sequence[Any]
    predicted: Sequence[Any]
    probabilities: Sequence[Sequence[float | None] | None]
    delays: Sequence[float | None]


def has_labels(signature: Signature) -> bool:
    """Whether the answers are labels; an outlier detector that answers a score gives none."""
    if signature.task == Task.ANOMALY:
        return signature.output != ColumnType.FLOAT
    return signature.task == Task.CLASSIFICATION


def as_text(label: Label) -> str:
    """A label as JSON, which tells 1 from "1" and from true.

    >>> as_text(1), as_text("1"), as_text(True)
    ('1', '"1"', 'true')
    """
    return to_json(label).decode()


def from_text(text: str) -> Label:
    """The label that `as_text` wrote down."""
    label: Label = from_json(text)
    return label


def realise(signature: Signature, labelled: Labelled, scale: Scale | None) -> Realised:
    """The sums of labelled rows; how many were answered besides is not known here."""
    delays = Counter(_power(seconds) for seconds in labelled.delays if seconds is not None)
    told = Realised(labelled=len(labelled.actual), delays=delays)
    if has_labels(signature):
        return told + Realised(pairs=_pairs(labelled), scores=_scores(signature, labelled))
    if signature.task == Task.REGRESSION and scale is not None:
        return told + Realised(errors=_errors(labelled, scale))
    return told


def _power(seconds: float) -> int:
    return 0 if seconds <= _FASTEST_SECONDS else ceil(log2(seconds))


def _pairs(labelled: Labelled) -> _Pairs:
    known: dict[tuple[type, Any], str] = {}

    def text(label: Any) -> str:
        key = (type(label), label if isinstance(label, str | int | float) else repr(label))
        if key not in known:
            known[key] = as_text(label)
        return known[key]

    return Counter(zip(map(text, labelled.actual), map(text, labelled.predicted), strict=True))


def _scores(signature: Signature, labelled: Labelled) -> dict[str, "ScoreCounts"]:
    from app.stats.score_counts import PROBABILITY_EDGES, count_scores  # noqa: PLC0415 - and SciPy with it

    classes = signature.classes or ()
    rows = [i for i, row in enumerate(labelled.probabilities) if row is not None and len(row) == len(classes)]
    if len(classes) < 2 or not rows:
        return {}
    odds = np.array([labelled.probabilities[i] for i in rows], np.float64)  # None becomes NaN
    places = {as_text(label): place for place, label in enumerate(classes)}
    truth = np.array([places.get(as_text(labelled.actual[i]), -1) for i in rows])
    shown = classes[1:] if len(classes) == 2 else classes  # of two, one says it all
    counts = {
        as_text(label): count_scores(PROBABILITY_EDGES, odds[:, places[as_text(label)]], truth == places[as_text(label)])
        for label in (shown if len(classes) <= MOST_SCORED_CLASSES else ())
    }  # fmt: skip
    given = np.where(truth >= 0, odds[np.arange(len(rows)), truth], 0.0)  # a class that it didn't know
    return counts | {TRUE_CLASS: count_scores(PROBABILITY_EDGES, given, np.ones(len(rows), np.bool_))}


def _errors(labelled: Labelled, scale: Scale) -> "ErrorSums":
    from app.stats.error_sums import sum_errors  # noqa: PLC0415 - and SciPy with it

    return sum_errors(
        numbers(labelled.actual), numbers(labelled.predicted), centre=scale.centre, unit=scale.unit
    )


def scale_of(values: Sequence[Any]) -> Scale:
    """The unit for a version of which no more is known than these first answers and labels; a few absurd ones don't matter.

    >>> scale_of([10.0, 30.0])
    Scale(centre=20.0, unit=64.0)
    """
    known = numbers(values).clip(-_FARTHEST, _FARTHEST)
    known = known[np.isfinite(known)]
    if not len(known):
        return Scale(0.0, 1.0)
    centre = float(np.median(known))
    away = np.abs(known - centre)
    wide = max(float(np.median(away[away > 0])) if away.any() else 0.0, abs(centre) / 8) or 1.0
    return Scale(centre, float(2.0 ** ceil(log2(4 * wide))))


_FARTHEST = 1e150  # the square of the unit is a number, too
