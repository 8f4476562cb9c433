"""What is written into the evidence: the rows of answered requests, and their outcomes."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.batches import Batch
from app.evidence.copying import COLUMNS
from app.evidence.partitions import ensure_partitions
from app.evidence.tables import PredictionRow


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
    await raw.copy_to_table(PredictionRow.__tablename__, source=batch.lines(), columns=COLUMNS, format="text")
