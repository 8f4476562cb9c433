"""What is written into the evidence: the rows of answered requests, and what turned out to be true of them."""

from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.evidence.batches import Batch
from app.evidence.copying import COLUMNS
from app.evidence.facts import LogDaysDropped, OutcomesCorrected
from app.evidence.outcome_sums import forget_five_minutes, mark_shipped
from app.evidence.outcomes import Portion, Refused, Sorted, Tally
from app.evidence.partitions import drop_old_partitions, ensure_partitions
from app.evidence.profiles import Plans, count_into_profiles
from app.evidence.tables import PredictionRow

DAYS_AHEAD = 2


async def absorb(session: AsyncSession, batch: Batch, plans: Plans, spool: str) -> None:
    """Bring a batch of answered requests into the evidence; all that is kept of them is written here, together."""
    await ensure_partitions(session, batch.days)
    await _copy_into_log(session, batch)
    await count_into_profiles(session, plans, batch.requests, spool)
    await mark_shipped(session, batch.requests)


async def _copy_into_log(session: AsyncSession, batch: Batch) -> None:
    """COPY on the transaction's own connection, which a statement before it has put into the transaction."""
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    assert raw.is_in_transaction()
    await raw.copy_to_table(
        PredictionRow.__tablename__, source=batch.pieces(), columns=COLUMNS, format="binary"
    )


async def record_outcomes(session: AsyncSession, model: str, given: Sorted) -> Tally:
    """Store what turned out to be true of a model's predictions.

    An outcome does not wait for its prediction: the two meet when they are read, so that their order can't matter.
    """
    tally = Tally(corrected=given.overruled, unchanged=given.repeated, refused=dict(given.refused))
    await ensure_partitions(session, given.days)
    for portion in given.portions:
        await _record(session, model, portion, tally)
    if tally.corrected:
        announce(session, OutcomesCorrected(model, tally.corrected))
    return tally


_RECORD = text("""
    WITH given AS MATERIALIZED (
        SELECT given.*, prediction.model AS owner
        FROM jsonb_to_recordset(CAST(:items AS jsonb)) AS given (
            index int, prediction_id uuid, at timestamptz, actual jsonb, observed_at timestamptz, value float8
        )
        LEFT JOIN prediction ON prediction.at = given.at AND prediction.id = given.prediction_id
            AND prediction.at BETWEEN :first AND :last
    ),
    written AS (
        INSERT INTO outcome AS known (at, prediction_id, model, actual, value, observed_at, given_at, given_by)
        SELECT at, prediction_id, :model, actual, value, observed_at, :given_at, :given_by
        FROM given WHERE coalesce(owner, :model) = :model ORDER BY prediction_id
        ON CONFLICT (at, prediction_id, model) DO UPDATE SET
            previous = known.actual, corrections = known.corrections + 1,
            actual = excluded.actual, value = excluded.value, observed_at = excluded.observed_at,
            given_at = excluded.given_at, given_by = excluded.given_by
        WHERE (known.actual, known.value) IS DISTINCT FROM (excluded.actual, excluded.value)
        RETURNING at, prediction_id, corrections
    ),
    marked AS (
        INSERT INTO outcome_mark (model, bucket, due_at)
        SELECT DISTINCT :model, date_bin('5 minutes', at, 'epoch'), CAST(:given_at AS timestamptz) FROM written
    )
    SELECT
        count(*) FILTER (WHERE corrections = 0 AND owner IS NOT NULL) AS accepted,
        count(*) FILTER (WHERE corrections = 0 AND owner IS NULL) AS pending,
        count(*) FILTER (WHERE corrections > 0) AS corrected,
        count(*) FILTER (WHERE corrections IS NULL AND coalesce(owner, :model) = :model) AS unchanged,
        array_agg(index) FILTER (WHERE owner <> :model) AS foreign_places,
        array_agg(prediction_id) FILTER (WHERE owner <> :model) AS foreign_ids
    FROM given LEFT JOIN written USING (at, prediction_id)
""").bindparams(bindparam("model", type_=Text), bindparam("given_by", type_=Text))
"""What `written` does not return says the same as before, and leaves sums as they are. The bounds keep other days out of
the look-up by key."""


async def _record(session: AsyncSession, model: str, portion: Portion, tally: Tally) -> None:
    actor: Actor = session.info["actor"]
    told = {"model": model, "given_at": clock.now(), "given_by": actor.name}
    counted = (await session.execute(_RECORD, asdict(portion) | told)).one()
    tally.accepted += counted.accepted
    tally.pending += counted.pending
    tally.corrected += counted.corrected
    tally.unchanged += counted.unchanged
    for index, prediction_id in zip(counted.foreign_places or (), counted.foreign_ids or (), strict=True):
        tally.refuse(Refused(index, str(prediction_id), f"prediction_id: not a prediction of {model}"))


async def keep_log_days(session: AsyncSession, keep_days: int) -> list[date]:
    """Make the log's next days and drop those that are older than it keeps; the answer is what was dropped."""
    today = clock.now().date()
    await ensure_partitions(session, [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)])
    dropped = await drop_old_partitions(session, before=today - timedelta(days=keep_days))
    if dropped:
        await forget_five_minutes(session, before=datetime.combine(dropped[-1], time.max, UTC))
        announce(session, LogDaysDropped([day.isoformat() for day in dropped]))
    return dropped
