"""Looking at the quality of inputs: of a window of the log, or of rows that a caller sends."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.evidence.flaws import look_at_latest
from app.evidence.windows import Reference, read_window
from app.monitoring.figures import note_figures
from app.monitoring.incoming import Sent
from app.monitoring.kinds import Figure
from app.monitoring.tables import QualityVerdictRow
from app.runtimes.profiles import Source, Watched
from app.runtimes.tally import Reason
from app.stats.profile import Profile
from app.stats.quality import FLAWS, Flaws, find_flaws, score

MOST_REASONS = 50
_COUNTED = {Source.INPUT: slice(None), Source.TEXT_LENGTH: slice(1)}  # a text is only missing or not


@dataclass(frozen=True)
class Rows:
    """What is looked at.

    Attributes:
        profile: of the rows that could be read; None where there is none.
        rows: how many these are.
        refused: the share of all rows that could not.
        looked_through: rows one by one, for refusals and repetitions; of the log the latest.
        repeated: how many of these are another's repetition.
        reasons: why rows were refused.
        is_sent: whether a caller sent them: then a repetition is a flaw. Of the log it may be the same question again.
    """

    profile: Profile | None
    rows: int
    refused: float
    looked_through: int
    repeated: int
    is_sent: bool
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class ColumnQuality:
    """One input: the shares of its values by what is wrong with them, the usual ones, and what counts as flawed."""

    feature: str
    values: int
    flawed: float
    shares: dict[str, float]
    usual: dict[str, float]


@dataclass(frozen=True)
class Quality:
    """What a look gave; no score where there was nothing to look at."""

    score: float | None
    columns: Sequence[ColumnQuality] = ()


@dataclass(frozen=True)
class Of:
    """Whose inputs they are."""

    model_id: UUID
    version_id: UUID
    version: int
    environment: str


async def rows_of_log(
    session: AsyncSession,
    reference: Reference,
    model: str,
    *,
    environment: str,
    since: datetime,
    until: datetime,
    arm: str | None = None,
) -> Rows:
    """A window of the log: its stored profiles, and its latest rows for what these don't hold."""
    where: dict[str, Any] = {"environment": environment, "since": since, "until": until, "arm": arm}
    window = await read_window(session, reference, **where)
    latest = await look_at_latest(session, model, reference.version_id, **where)
    profile = window.profile if window.rows else None
    return Rows(
        profile,
        window.rows,
        latest.refused,
        latest.rows,
        latest.repeated,
        False,
        latest.reasons,
        since,
        until,
    )


def rows_of_caller(sent: Sent) -> Rows:
    """Rows that came along, every one of them looked through."""
    came = sent.rows + sent.refused
    reasons = dict(Counter(sent.reasons).most_common())
    return Rows(sent.profile, sent.rows, sent.refused / came, came, sent.repeated, True, reasons)


async def judge_quality(reference: Reference, rows: Rows) -> Quality:
    """How good some rows are, beside the reference; in a thread, as columns may be many."""
    if rows.profile is None:
        return Quality(0.0) if rows.refused else Quality(None)
    flaws = await asyncio.to_thread(find_flaws, reference.profile, rows.profile)
    inputs = [(i, column) for i, column in enumerate(reference.plan.columns) if column.source in _COUNTED]
    columns = [_told(i, column, flaws) for i, column in inputs]
    repeated = rows.repeated / rows.rows if rows.is_sent else 0.0
    total = score(np.array([each.flawed for each in columns]), rows.refused, repeated)
    return Quality(total, sorted(columns, key=lambda each: -each.flawed))


def _told(i: int, column: Watched, flaws: Flaws) -> ColumnQuality:
    counted = _COUNTED[column.source]
    kinds = [kind.value for kind in FLAWS[counted]]
    return ColumnQuality(
        column.name.removesuffix(f" ({Source.TEXT_LENGTH.value})"),
        int(flaws.values[i]),
        min(float(flaws.excess[i, counted].sum()), 1.0),
        dict(zip(kinds, flaws.shares[i, counted].tolist(), strict=True)),
        dict(zip(kinds, flaws.usual[i, counted].tolist(), strict=True)),
    )


async def keep_quality(session: AsyncSession, of: Of, rows: Rows, quality: Quality) -> QualityVerdictRow:
    """Store what a look gave, with the columns that are flawed; one at the log is the version's latest figure."""
    actor: Actor = session.info["actor"]
    row = QualityVerdictRow(
        **asdict(of),
        at=clock.now(),
        since=rows.since,
        until=rows.until,
        asked_by=actor.name,
        rows=rows.rows,
        refused=rows.refused,
        repeated=rows.repeated / rows.looked_through if rows.looked_through else 0.0,
        score=quality.score,
        columns=[asdict(each) for each in quality.columns if each.flawed],
        reasons=tell_reasons(rows.reasons),
    )
    session.add(row)
    await session.flush()
    return row


async def note_quality(session: AsyncSession, of: Of, quality: Quality) -> None:
    """Let the metrics know."""
    if quality.score is not None:
        figures = {Figure.QUALITY_SCORE: quality.score}
        await note_figures(session, of.version_id, of.environment, figures)


def tell_reasons(reasons: Mapping[Reason, int]) -> list[dict[str, Any]]:
    """Why rows were refused, the most frequent reasons first."""
    told = list(reasons.items())[:MOST_REASONS]
    return [{"column": column, "problem": problem, "rows": count} for (column, problem), count in told]
