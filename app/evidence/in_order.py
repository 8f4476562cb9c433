"""The latest rows of a window in the order in which they came: for what depends on it, which no sums keep."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import from_json
from sqlalchemy import Row, Select, Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.tables import PredictionRow
from app.runtimes.profiles import Answered, Plan, columns_of
from app.runtimes.schema import Signature

if TYPE_CHECKING:
    from app.registry.tables import Version

MOST_ROWS = 2000
"""Of so many independent ones, 1.3 count for one at most, as far as they can tell: more would hardly find more."""
MOST_CELLS = 200_000
"""A thousand columns are read of two hundred rows."""
MOST_PASSED = 50_000
"""Of the model's rows, those of other versions too, in 0.2 s: a version that hardly anybody asks is not searched for longer."""


@dataclass(frozen=True)
class InOrder:
    """Rows, the oldest first: as many, and of each column of the plan its values, as `profile.observe` takes them."""

    rows: int
    columns: Sequence[Any]


async def read_in_order(
    session: AsyncSession,
    plan: Plan,
    version: "Version",
    *,
    environment: str,
    since: datetime,
    until: datetime,
) -> InOrder:
    """The latest rows that a version answered between two moments; those of shadows are not among them."""
    most = min(MOST_ROWS, MOST_CELLS // len(plan.columns))
    query = _select_latest(version, environment, since, until).limit(most)
    rows = (await session.execute(query)).all()
    return await asyncio.to_thread(_read, plan, Signature.from_json(version.signature), rows[::-1])


def _select_latest(version: "Version", environment: str, since: datetime, until: datetime) -> Select[Any]:
    of_model = (
        select(PredictionRow)
        .where(PredictionRow.model == version.model_name, PredictionRow.at >= since, PredictionRow.at < until)
        .order_by(PredictionRow.at.desc(), PredictionRow.id.desc())
        .limit(MOST_PASSED)
        .subquery()
    )
    columns, is_of_version = of_model.c, of_model.c.version_id == version.id
    return (
        select(
            cast(columns.features, Text).label("features"), cast(columns.output, Text).label("output"),
            columns.confidence, columns.latency_ms,
        )
        .where(is_of_version, columns.environment == environment, columns.shadow.is_(False))
        .where(columns.features.is_not(None))
        .order_by(columns.at.desc(), columns.id.desc())
    )  # fmt: skip


def _read(plan: Plan, signature: Signature, rows: Sequence[Row[Any]]) -> InOrder:
    if not rows:
        return InOrder(0, [])
    features, outputs = (
        from_json(f"[{','.join(cell or 'null' for cell in cells)}]")
        for cells in ([row.features for row in rows], [row.output for row in rows])
    )
    confidences, latencies = (
        np.array([np.nan if cell is None else cell for cell in cells], np.float64)
        for cells in ([row.confidence for row in rows], [row.latency_ms for row in rows])
    )
    answered = Answered(columns_of(None, features, signature.types), outputs, confidences, latencies)
    return InOrder(len(rows), plan.values(answered))
