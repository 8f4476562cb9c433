"""Sums of what came true: made from the log wherever it changed, and rolled up to hours and days."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from pydantic_core import from_json
from sqlalchemy import ARRAY, ColumnElement, DateTime, Text, Uuid, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.locks import hold_until_commit
from app.evidence.copying import times_in
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


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Whose sums they are, apart from when."""

    version_id: UUID
    environment: str
    arm: str
    shadow: bool


async def mark_shipped(session: AsyncSession, requests: Iterable[LoggedRequest]) -> None:
    """Note that predictions were added to some buckets, so that each is counted once it is over.

    A label that came before its prediction finds it then, whoever was first.
    """
    now = clock.now()
    marks = sorted(_buckets_of(requests))
    due = [max(now, bucket + BUCKET + SETTLING) for _, bucket in marks]
    given = {"models": [model for model, _ in marks], "buckets": [bucket for _, bucket in marks], "due": due}
    await session.execute(_MARK, given)


_MOMENTS = ARRAY(DateTime(timezone=True))
_MARK = text("""
    INSERT INTO outcome_mark (model, bucket, due_at)
    SELECT * FROM unnest(CAST(:models AS text[]), CAST(:buckets AS timestamptz[]), CAST(:due AS timestamptz[]))
""").bindparams(
    bindparam("models", type_=ARRAY(Text)), bindparam("buckets", type_=_MOMENTS), bindparam("due", type_=_MOMENTS)
)  # fmt: skip


def _buckets_of(requests: Iterable[LoggedRequest]) -> set[tuple[str, datetime]]:
    ids: dict[str, list[bytes]] = {}
    for request in requests:
        ids.setdefault(request.origin.model, []).append(request.id_bytes)
    seconds = int(BUCKET.total_seconds())
    return {
        (model, datetime.fromtimestamp(number * seconds, UTC))
        for model, parts in ids.items()
        for number in np.unique(times_in(b"".join(parts)) // (seconds * 1000)).tolist()
    }


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
    taken = delete(OutcomeMark).where(OutcomeMark.model == model, OutcomeMark.bucket.in_(buckets))
    if until_due is not None:
        taken = taken.where(OutcomeMark.due_at <= until_due)
    await session.execute(taken)
    touched: set[UUID] = set()
    for bucket in buckets:
        touched |= await _remake(session, model, bucket)
    for finer, coarser in ((FIVE_MINUTES, HOUR), (HOUR, DAY)):
        for start in sorted({start_of(bucket, coarser) for bucket in buckets}):
            await _roll_up(session, model, touched, start, finer, coarser)
    return bool(buckets)


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


async def _remake(session: AsyncSession, model: str, bucket: datetime) -> set[UUID]:
    """The sums of five minutes, wholly from the log; where it has no row its day was dropped, and they stay as they are."""
    slice_ = {"model": model, "since": bucket, "until": bucket + BUCKET}
    counted = {_group(row): (row.version, row.rows) for row in await session.execute(_COUNTED, slice_)}
    stored = await signatures_by_id(session, {group.version_id for group in counted})
    signatures = {version_id: Signature.from_json(body) for version_id, body in stored.items()}
    answers = await _count_answers(session, slice_, signatures)
    pieces: dict[Group, list[Any]] = {}
    for row in await session.execute(_LABELLED, slice_):
        pieces.setdefault(_group(row), []).append(row)
    for group in sorted(counted):
        version, rows = counted[group]
        sums = Realised(rows=rows, answers=answers.get(group, Counter()))
        if group in pieces and group.version_id in signatures:
            sums += await _realise(session, signatures[group.version_id], pieces[group])
        await _keep(session, model, version, group, bucket, FIVE_MINUTES, sums)
    return {group.version_id for group in counted}


def _group(row: Any) -> Group:
    return Group(row.version_id, row.environment, row.arm, row.shadow)


_GROUPED = "version_id, environment, coalesce(arm, '') AS arm, shadow"
_ANSWERED = "model = :model AND prediction.at >= :since AND prediction.at < :until AND output IS NOT NULL"
_COUNTED = text(f"""
    SELECT {_GROUPED}, version, count(*) AS rows FROM prediction WHERE {_ANSWERED} GROUP BY 1, 2, 3, 4, 5
""")  # noqa: S608 - made of constants
_ANSWERS = text(f"""
    SELECT {_GROUPED}, CAST(output AS text) AS answer, count(*) AS rows FROM prediction
    WHERE {_ANSWERED} AND version_id = ANY(:labelling) GROUP BY 1, 2, 3, 4, 5
""").bindparams(bindparam("labelling", type_=ARRAY(Uuid)))  # noqa: S608 - as above
_LABELLED = text(f"""
    SELECT version_id, environment, arm, shadow, '[' || string_agg(CAST(actual AS text), ',') || ']' AS actual,
        '[' || string_agg(CAST(output AS text), ',') || ']' AS predicted,
        '[' || string_agg(coalesce(CAST(probabilities AS text), 'null'), ',') || ']' AS probabilities,
        array_agg(delay) AS delays
    FROM (
        SELECT {_GROUPED}, actual, output, probabilities, row_number() OVER () / {ROWS_PER_PIECE} AS piece,
            CASE WHEN corrections = 0 THEN CAST(extract(epoch FROM given_at - prediction.at) AS float8) END AS delay
        FROM prediction JOIN outcome USING (at, model)
        WHERE {_ANSWERED} AND outcome.prediction_id = prediction.id
    ) AS known GROUP BY version_id, environment, arm, shadow, piece
""")  # noqa: S608 - as above
"""Rows come as JSON, some thousands in a piece that is read in one call: one by one, or all at once, they would hold up
the event loop."""


async def _count_answers(
    session: AsyncSession, slice_: Mapping[str, Any], signatures: Mapping[UUID, Signature]
) -> dict[Group, Counter[str]]:
    labelling = [version_id for version_id, signature in signatures.items() if has_labels(signature)]
    answers: dict[Group, Counter[str]] = {}
    for row in await session.execute(_ANSWERS, {**slice_, "labelling": labelling}) if labelling else ():
        answers.setdefault(_group(row), Counter())[row.answer] += row.rows
    return answers


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
        alike.setdefault(_group(row), []).append(row)
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
