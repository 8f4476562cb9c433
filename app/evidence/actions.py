"""What is written into the evidence: the rows of answered requests, and what turned out to be true of them."""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.evidence.batches import Batch
from app.evidence.copying import COLUMNS
from app.evidence.facts import LogDaysDropped, OutcomesCorrected
from app.evidence.outcomes import Given, Refused, Submission, Tally
from app.evidence.partitions import drop_old_partitions, ensure_partitions
from app.evidence.queries import models_of
from app.evidence.tables import PredictionRow

OUTCOMES_PER_STATEMENT = 5_000
DAYS_AHEAD = 2


async def absorb(session: AsyncSession, batch: Batch) -> None:
    """Bring a batch of answered requests into the evidence; all that is kept of them is written here, together."""
    await ensure_partitions(session, batch.days)
    await _copy_into_log(session, batch)


async def _copy_into_log(session: AsyncSession, batch: Batch) -> None:
    """COPY on the transaction's own connection, which a statement before it has put into the transaction."""
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    assert raw.is_in_transaction()
    await raw.copy_to_table(
        PredictionRow.__tablename__, source=batch.pieces(), columns=COLUMNS, format="binary"
    )


async def record_outcomes(session: AsyncSession, model: str, submission: Submission) -> Tally:
    """Store what turned out to be true of a model's predictions.

    An outcome does not wait for its prediction: the two meet when they are read, so that their order can't matter.
    """
    tally = Tally(
        corrected=submission.overruled, unchanged=submission.repeated, refused=list(submission.refused)
    )
    given = sorted(submission.given.values(), key=lambda item: item.prediction_id.int)
    await ensure_partitions(session, {item.at.date() for item in given})
    for start in range(0, len(given), OUTCOMES_PER_STATEMENT):
        await _record(session, model, given[start : start + OUTCOMES_PER_STATEMENT], tally)
    tally.refused.sort(key=lambda item: item.index)
    if tally.corrected:
        announce(session, OutcomesCorrected(model, tally.corrected))
    return tally


async def _record(session: AsyncSession, model: str, given: Sequence[Given], tally: Tally) -> None:
    owners = await models_of(session, {item.prediction_id: item.at for item in given})
    ours = [item for item in given if owners.get(item.prediction_id, model) == model]
    strangers = [item for item in given if owners.get(item.prediction_id, model) != model]
    tally.refused += [
        Refused(item.index, str(item.prediction_id), f"prediction_id: not a prediction of {model}")
        for item in strangers
    ]
    corrections = await _upsert(session, model, ours)
    new = [prediction_id for prediction_id, count in corrections.items() if not count]
    pending = sum(prediction_id not in owners for prediction_id in new)
    tally.pending += pending
    tally.accepted += len(new) - pending
    tally.corrected += len(corrections) - len(new)
    tally.unchanged += len(ours) - len(corrections)


_UPSERT = text("""
    INSERT INTO outcome AS known (at, prediction_id, model, actual, value, observed_at, given_at, given_by)
    SELECT at, prediction_id, :model, actual::jsonb, value, observed_at, :given_at, :given_by
    FROM unnest(
        CAST(:times AS timestamptz[]), CAST(:ids AS uuid[]), CAST(:actuals AS text[]), CAST(:values AS float8[]),
        CAST(:observed AS timestamptz[])
    ) AS given (at, prediction_id, actual, value, observed_at)
    ON CONFLICT (at, prediction_id, model) DO UPDATE SET
        previous = known.actual, corrections = known.corrections + 1,
        actual = excluded.actual, value = excluded.value, observed_at = excluded.observed_at,
        given_at = excluded.given_at, given_by = excluded.given_by
    WHERE (known.actual, known.value) IS DISTINCT FROM (excluded.actual, excluded.value)
    RETURNING prediction_id, corrections
""")
"""Rows that come back were written; those that say the same as before do not come back."""


async def _upsert(session: AsyncSession, model: str, given: Sequence[Given]) -> dict[UUID, int]:
    """How often each outcome that this wrote has been corrected; in the order of ids, so that no two calls deadlock."""
    actor: Actor = session.info["actor"]
    rows = await session.execute(
        _UPSERT,
        {
            "model": model,
            "given_at": clock.now(),
            "given_by": actor.name,
            "times": [item.at for item in given],
            "ids": [item.prediction_id for item in given],
            "actuals": [to_json(item.actual).decode() for item in given],
            "values": [item.value for item in given],
            "observed": [item.observed_at for item in given],
        },
    )
    return {row.prediction_id: row.corrections for row in rows}


async def keep_log_days(session: AsyncSession, keep_days: int) -> list[date]:
    """Make the log's next days and drop those that are older than it keeps; the answer is what was dropped."""
    today = clock.now().date()
    await ensure_partitions(session, [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)])
    dropped = await drop_old_partitions(session, before=today - timedelta(days=keep_days))
    if dropped:
        announce(session, LogDaysDropped([day.isoformat() for day in dropped]))
    return dropped
