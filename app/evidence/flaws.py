"""What the latest rows of the log tell that profiles can't: why rows were refused, and which were asked before."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Subquery, Text, cast, distinct, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.queries import LATEST_ROWS
from app.evidence.tables import PredictionRow
from app.runtimes.tally import Reason


@dataclass(frozen=True)
class Latest:
    """The latest rows of a window, up to `LATEST_ROWS`.

    Attributes:
        rows: how many were looked at.
        refused: the share that could not be read; rows that a sample stands for are counted with it.
        repeated: how many of those that could have the same values as another one of them.
        reasons: why rows were refused, and how many for each reason.
    """

    rows: int
    refused: float
    repeated: int
    reasons: Mapping[Reason, int] = field(default_factory=dict)


async def look_at_latest(
    session: AsyncSession,
    model: str,
    version_id: UUID,
    *,
    environment: str,
    since: datetime,
    until: datetime,
    arm: str | None = None,
) -> Latest:
    """Of a version's rows between two moments the latest: refusals, repetitions, reasons."""
    latest = _latest(model, version_id, environment, since, until, arm)
    weight, is_refused = 1 / latest.c.log_probability, latest.c.features.is_(None)
    different = func.count(distinct(func.hashtextextended(cast(latest.c.features, Text), 0)))
    refused = func.coalesce(func.sum(weight).filter(is_refused), 0.0)
    query = select(func.count(), func.count(latest.c.features) - different, refused / func.sum(weight))
    rows, repeated, share = (await session.execute(query)).one()
    if not share:  # none was refused, or none was there
        return Latest(rows, 0.0, repeated)
    errors = await session.scalars(select(latest.c.error).where(is_refused))
    return Latest(rows, float(share), repeated, count_reasons(errors))


def count_reasons(errors: Iterable[Any]) -> Mapping[Reason, int]:
    """How many rows were refused for each reason, the most frequent first; a row may have several."""
    told: Counter[Reason] = Counter()
    for error in errors:
        found = error if isinstance(error, list) else [{"column": None, "problem": str(error)}]
        told.update({(each.get("column"), str(each.get("problem"))) for each in found})
    return dict(told.most_common())


def _latest(
    model: str, version_id: UUID, environment: str, since: datetime, until: datetime, arm: str | None
) -> Subquery:
    query = (
        select(PredictionRow.features, PredictionRow.error, PredictionRow.log_probability)
        .where(PredictionRow.model == model, PredictionRow.at >= since, PredictionRow.at < until)
        .where(PredictionRow.version_id == version_id, PredictionRow.environment == environment)
        .where(~PredictionRow.shadow)
        .order_by(PredictionRow.at.desc())
        .limit(LATEST_ROWS)
    )
    return (query if arm is None else query.where(PredictionRow.arm == arm)).subquery("latest")
