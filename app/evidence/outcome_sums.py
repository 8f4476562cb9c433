"""Sums of what came true: made from the log wherever it changed, and rolled up to hours and days."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Self
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy import ColumnElement, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.locks import hold_until_commit
from app.evidence.arrivals import Group, count_arrivals
from app.evidence.frames import LoggedRequest
from app.evidence.profiles import BUCKET
from app.evidence.realised import Labelled, Realised, Scale, add_up, has_labels, realise, scale_of
from app.evidence.tables import LiveOutcome, OutcomeMark, ProfilePlan
from app.evidence.windows import start_of_bucket
from app.registry.queries import signatures_by_id
from app.runtimes.profiles import Plan, Source
from app.runtimes.schema import Signature, Task
from app.stats.axes import NumericAxis

FIVE_MINUTES, HOUR, DAY = 5, 60, 1440
SETTLING = timedelta(seconds=30)
"""How long after its end a bucket's predictions are counted: spools of all replicas are shipped by then."""
MOST_BUCKETS = 12
"""In one transaction: an hour of a model."""
ROWS_PER_PIECE = 5000


async def mark_shipped(session: AsyncSession, requests: Sequence[LoggedRequest]) -> None:
    """Note how many predictions were added to some buckets, so that each is summed up once it is over.

    A label that came before its prediction finds it then, whoever was first.
    """
    now = clock.now()
    marks = [
        {
            "model": place.model, "bucket": place.bucket, "due_at": max(now, place.bucket + BUCKET + SETTLING),
            "version_id": place.group.version_id, "environment": place.group.environment, "arm": place.group.arm,
            "shadow": place.group.shadow, "version": place.version, "rows": arrived.rows, "answers": dict(arrived.answers),
        }
        for place, arrived in sorted(count_arrivals(requests).items(), key=itemgetter(0))
    ]  # fmt: skip
    if marks:
        await session.execute(insert(OutcomeMark), marks)


async def refresh_due(session: AsyncSession) -> bool:
    """Make the sums of some buckets anew that are due; whether there were any."""
    first = (
        select(OutcomeMark.model).where(OutcomeMark.due_at <= clock.now()).order_by(OutcomeMark.id).limit(1)
    )
    model = await session.scalar(first)
    return model is not None and await refresh(session, model, until_due=clock.now())


async def refresh(session: AsyncSession, model: str, *, until_due: datetime | None = None) -> bool:
    """Make the sums of a model's marked buckets anew, of some at a time; whether there were any.

    The marks are taken before the log is read, and whoever adds to the log marks in the same transaction: what is not
    seen here has a mark that is not seen either, and stays for the next time.
    """
    await hold_until_commit(session, f"outcomes of {model}")
    marks = select(OutcomeMark.bucket).where(OutcomeMark.model == model)
    if until_due is not None:
        marks = marks.where(OutcomeMark.due_at <= until_due)
    buckets = (await session.scalars(marks.distinct().order_by(OutcomeMark.bucket).limit(MOST_BUCKETS))).all()
    arrived = await _take_marks(session, model, buckets)
    touched: set[UUID] = set()
    for bucket in buckets:
        touched |= await _remake(session, model, bucket, arrived[bucket])
    for finer, coarser in ((FIVE_MINUTES, HOUR), (HOUR, DAY)):
        for start in sorted({start_of(bucket, coarser) for bucket in buckets}):
            await _roll_up(session, model, touched, start, finer, coarser)
    return bool(buckets)


@dataclass(slots=True)
class _Counted:
    """What is known of one group's five minutes without its labels."""

    version: int
    rows: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def add(
        cls, known: dict[Group, Self], group: Group, version: int, rows: int, answers: Mapping[str, int]
    ) -> None:
        """Add to what is known of a group."""
        row = known.setdefault(group, cls(version))
        row.rows += rows
        row.answers.update(answers)


async def _take_marks(
    session: AsyncSession, model: str, buckets: Sequence[datetime]
) -> dict[datetime, dict[Group, _Counted]]:
    """Take away the marks of some buckets, those that are not due as well; what they say has arrived since the last time."""
    taken = delete(OutcomeMark).where(OutcomeMark.model == model, OutcomeMark.bucket.in_(buckets))
    arrived: dict[datetime, dict[Group, _Counted]] = {bucket: {} for bucket in buckets}
    for mark in await session.execute(taken.returning(*_ARRIVED)):
        if mark.version_id is not None:  # that of a label says no more than which bucket
            _Counted.add(arrived[mark.bucket], Group.of(mark), mark.version, mark.rows, mark.answers)
    return arrived


_ARRIVED = (
    OutcomeMark.bucket, OutcomeMark.version_id, OutcomeMark.environment, OutcomeMark.arm, OutcomeMark.shadow,
    OutcomeMark.version, OutcomeMark.rows, OutcomeMark.answers,
)  # fmt: skip


def start_of(moment: datetime, minutes: int) -> datetime:
    """The beginning of the five minutes, the hour or the day that a moment falls into; days are those of UTC."""
    if minutes == FIVE_MINUTES:
        return start_of_bucket(moment)
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour if minutes == HOUR else hour.replace(hour=0)


def end_of(moment: datetime, minutes: int) -> datetime:
    """The moment itself, or the end of what it lies in."""
    start = start_of(moment, minutes)
    return start if start == moment else start + timedelta(minutes=minutes)


async def _remake(
    session: AsyncSession, model: str, bucket: datetime, counted: dict[Group, _Counted]
) -> set[UUID]:
    """The sums of five minutes: labels wholly from the log, rows as they were counted when they came, these and earlier ones.

    Where nothing was counted their day was dropped, and there is nothing to be made anew.
    """
    earlier = select(LiveOutcome).where(
        LiveOutcome.model == model, LiveOutcome.minutes == FIVE_MINUTES, LiveOutcome.bucket == bucket
    )
    for known in await session.scalars(earlier.execution_options(populate_existing=True)):
        _Counted.add(counted, Group.of(known), known.version, known.rows, known.sums["answers"])
    stored = await signatures_by_id(session, {group.version_id for group in counted})
    signatures = {version_id: Signature.from_json(body) for version_id, body in stored.items()}
    pieces: dict[Group, list[Any]] = {}
    for piece in await session.execute(
        _LABELLED, {"model": model, "since": bucket, "until": bucket + BUCKET}
    ):
        pieces.setdefault(Group.of(piece), []).append(piece)
    for group in sorted(counted):
        row, signature = counted[group], signatures.get(group.version_id)
        is_labelling = signature is not None and has_labels(signature)
        sums = Realised(rows=row.rows, answers=row.answers if is_labelling else Counter())
        if group in pieces and signature is not None:
            sums += await _realise(session, signature, pieces[group])
        await _keep(session, model, row.version, group, bucket, FIVE_MINUTES, sums)
    return {group.version_id for group in counted}


_GROUPED = "version_id, environment, coalesce(arm, '') AS arm, shadow"
_LABELLED = text(f"""
    SELECT version_id, environment, arm, shadow, '[' || string_agg(CAST(actual AS text), ',') || ']' AS actual,
        '[' || string_agg(CAST(output AS text), ',') || ']' AS predicted,
        '[' || string_agg(coalesce(CAST(probabilities AS text), 'null'), ',') || ']' AS probabilities,
        array_agg(delay) AS delays
    FROM (
        SELECT {_GROUPED}, actual, output, probabilities, row_number() OVER () / {ROWS_PER_PIECE} AS piece,
            CASE WHEN corrections = 0 THEN CAST(extract(epoch FROM given_at - prediction.at) AS float8) END AS delay
        FROM prediction JOIN outcome USING (at, model)
        WHERE model = :model AND prediction.at >= :since AND prediction.at < :until AND output IS NOT NULL
            AND outcome.at >= :since AND outcome.at < :until AND outcome.prediction_id = prediction.id
    ) AS known GROUP BY version_id, environment, arm, shadow, piece
""")  # noqa: S608 - made of constants
"""Rows come as JSON, some thousands in a piece that is read in one call: one by one, or all at once, they would hold up
the event loop. Both sides are bounded by time, so that where labels are few only their own rows are fetched."""


async def _realise(session: AsyncSession, signature: Signature, pieces: Sequence[Any]) -> Realised:
    sums, scale = Realised(), None
    for piece in pieces:
        labelled = await asyncio.to_thread(_read, piece)
        if signature.task == Task.REGRESSION and scale is None:
            scale = await _scale_of(session, piece.version_id)
            scale = scale or scale_of([*labelled.actual, *labelled.predicted])
        sums += await asyncio.to_thread(realise, signature, labelled, scale)
    return sums


def _read(row: Any) -> Labelled:
    return Labelled(from_json(row.actual), from_json(row.predicted), from_json(row.probabilities), row.delays)


async def _scale_of(session: AsyncSession, version_id: UUID) -> Scale | None:
    """The scale that a version's errors are in already, or else that of its reference's answers."""
    errors = LiveOutcome.sums["errors"]
    query = (
        select(errors).where(LiveOutcome.version_id == version_id, errors.as_string().is_not(None)).limit(1)
    )
    used = await session.scalar(query)
    if used is not None:
        return Scale(used["centre"], used["unit"])
    columns = await session.scalar(select(ProfilePlan.columns).where(ProfilePlan.version_id == version_id))
    for watched in Plan.from_json(columns or []).columns:
        if watched.source == Source.PREDICTION and isinstance(watched.axis, NumericAxis):
            return Scale(watched.axis.centre, watched.axis.scale)
    return None


async def _roll_up(
    session: AsyncSession, model: str, version_ids: set[UUID], start: datetime, finer: int, coarser: int
) -> None:
    parts = select(LiveOutcome).where(
        LiveOutcome.version_id.in_(version_ids),
        LiveOutcome.minutes == finer,
        LiveOutcome.bucket >= start,
        LiveOutcome.bucket < start + timedelta(minutes=coarser),
    )
    alike: dict[Group, list[LiveOutcome]] = {}
    for row in await session.scalars(parts.execution_options(populate_existing=True)):
        alike.setdefault(Group.of(row), []).append(row)
    for group in sorted(alike):
        whole = await asyncio.to_thread(sum_of, alike[group])
        await _keep(session, model, alike[group][0].version, group, start, coarser, whole)


def sum_of(rows: Sequence[Any]) -> Realised:
    """Stored sums added up, in a thread."""
    return add_up(Realised.from_json(row.rows, row.labelled, row.sums) for row in rows)


async def _keep(
    session: AsyncSession,
    model: str,
    version: int,
    group: Group,
    bucket: datetime,
    minutes: int,
    sums: Realised,
) -> None:
    key = {name: getattr(group, name) for name in Group.__slots__} | {"minutes": minutes, "bucket": bucket}
    told = {"rows": sums.rows, "labelled": sums.labelled, "sums": sums.to_json(), "made_at": clock.now()}
    first = insert(LiveOutcome).values(**key, model=model, version=version, **told)
    await session.execute(first.on_conflict_do_update(index_elements=[*key], set_=told))


async def forget_five_minutes(session: AsyncSession, *, before: datetime) -> None:
    """Drop what only the log could make anew, once the log's own days are gone; hours and days stay."""
    await session.execute(delete(OutcomeMark).where(OutcomeMark.bucket < before))
    await session.execute(delete(LiveOutcome).where(*_five_minutes(before)))


async def count_five_minutes(session: AsyncSession, *, before: datetime) -> int:
    """How many sums are dropped with the log's own days."""
    return await session.scalar(select(func.count()).where(*_five_minutes(before))) or 0


def _five_minutes(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return LiveOutcome.minutes == FIVE_MINUTES, LiveOutcome.bucket < before
