"""The latest rows of a window of the log, column by column: for what no sums can tell, and never more than a bounded number."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.outcome_windows import Cohort

MOST_ROWS = 20_000
"""A share is known to 0.7 percentage points from these, and with thirty features they are read in half a second."""


@dataclass(frozen=True)
class Latest:
    """Answered rows, the oldest first; each list has one entry for a row.

    Attributes:
        features: the cells in the order of the signature; None where nobody asked for them.
        predicted: the answers.
        probabilities: of the signature's classes, None where there are none.
        confidences: the largest of them.
        actual: what came true, None where nobody said.
        values: what it was worth, None where nobody said.
        observed: when that was seen, in seconds since 1970.
        delays: seconds from the answer to its label, None where there is none or it was corrected.
    """

    features: Sequence[Sequence[Any]] | None
    predicted: Sequence[Any]
    probabilities: Sequence[Any]
    confidences: Sequence[float | None]
    actual: Sequence[Any]
    values: Sequence[float | None]
    observed: Sequence[float | None]
    delays: Sequence[float | None]

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        return cls((), (), (), (), (), (), (), ())

    def __len__(self) -> int:
        return len(self.predicted)

    def pick(self, places: Sequence[int]) -> "Latest":
        """Some of the rows."""

        def of(column: Sequence[Any]) -> list[Any]:
            return [column[i] for i in places]

        return Latest(
            None if self.features is None else of(self.features), of(self.predicted), of(self.probabilities),
            of(self.confidences), of(self.actual), of(self.values), of(self.observed), of(self.delays),
        )  # fmt: skip

    @property
    def labelled(self) -> "Latest":
        """The rows whose true answer is known."""
        return self.pick([i for i, actual in enumerate(self.actual) if actual is not None])


async def read_latest(
    session: AsyncSession,
    model: str,
    cohort: Cohort,
    *,
    since: datetime,
    until: datetime,
    only_labelled: bool = False,
    with_features: bool = False,
    most: int = MOST_ROWS,
) -> Latest:
    """The latest rows that a cohort was asked between two moments."""
    query = _LATEST[only_labelled, with_features]
    told = {
        "model": model, "version_id": cohort.version_id, "environment": cohort.environment, "shadow": cohort.shadow,
        "arm": cohort.arm, "since": since, "until": until, "most": most,
    }  # fmt: skip
    row = (await session.execute(query, told)).one()
    return await asyncio.to_thread(_read, row, with_features=with_features)


def _query(*, only_labelled: bool, with_features: bool) -> Any:
    features = "features" if with_features else "NULL"
    join = "JOIN" if only_labelled else "LEFT JOIN"
    return text(f"""
        SELECT {", ".join(_listed(name) for name in _AS_JSON)},
            array_agg(confidence) AS confidences, array_agg(value) AS values, array_agg(observed) AS observed,
            array_agg(delay) AS delays
        FROM (
            SELECT CAST({features} AS json) AS features, output AS predicted, probabilities, confidence, actual, value,
                CAST(extract(epoch FROM observed_at) AS float8) AS observed,
                CASE WHEN corrections = 0 THEN CAST(extract(epoch FROM given_at - prediction.at) AS float8) END AS delay
            FROM prediction {join} outcome ON outcome.at = prediction.at AND outcome.prediction_id = prediction.id
                AND outcome.model = prediction.model AND outcome.at >= :since AND outcome.at < :until
            WHERE prediction.model = :model AND version_id = :version_id AND environment = :environment
                AND shadow = :shadow AND prediction.at >= :since AND prediction.at < :until AND output IS NOT NULL
                AND (CAST(:arm AS text) IS NULL OR coalesce(arm, '') = :arm)
            ORDER BY prediction.at DESC, prediction.id DESC LIMIT :most
        ) AS latest
    """)  # noqa: S608 - made of constants


def _listed(name: str) -> str:
    """All rows' values as one JSON array, which is read in one call."""
    return f"'[' || coalesce(string_agg(coalesce(CAST({name} AS text), 'null'), ','), '') || ']' AS {name}"


_AS_JSON = ("features", "predicted", "probabilities", "actual")
_LATEST = {
    (only_labelled, with_features): _query(only_labelled=only_labelled, with_features=with_features)
    for only_labelled in (False, True)
    for with_features in (False, True)
}


def _read(row: Any, *, with_features: bool) -> Latest:
    features, predicted, probabilities, actual = (from_json(getattr(row, name))[::-1] for name in _AS_JSON)
    others = (row.confidences, row.values, row.observed, row.delays)
    confidences, values, observed, delays = (list(column or ())[::-1] for column in others)
    shown = features if with_features else None
    return Latest(shown, predicted, probabilities, confidences, actual, values, observed, delays)
