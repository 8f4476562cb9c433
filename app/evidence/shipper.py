"""From the spools into the database: every frame exactly once, whatever is killed when.

The rows of a batch and the offset that they reach are committed together, and the offset's row is locked
meanwhile; so a shipper that dies, or a second one, continues where the last commit ended. A segment is deleted
once it is closed and all of it is committed.
"""

import asyncio
import struct
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import asyncpg
import structlog
from prometheus_client import Counter
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor, Database
from app.core.outage import Outage, is_connection_trouble
from app.evidence.actions import absorb
from app.evidence.batches import Batch, collect
from app.evidence.profiles import Plans
from app.evidence.quarantine import set_aside
from app.evidence.segments import SUFFIX, Damage, Piece, Segment, Stretch
from app.evidence.tables import SpoolPosition

log = structlog.get_logger()

MAX_BYTES = 4 * 1024 * 1024
MAX_FRAMES = 4096
IDLE_SECONDS = 0.2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
_POISON = ("22", "23", "54")
"""Classes of SQLSTATE that blame the data: data exception, integrity, program limit (PostgreSQL manual, appendix A)."""
_SHIPPER = Actor("shipper", "system")

ROWS = Counter("log_rows_shipped_total", "Rows of the prediction log that reached the database.")
QUARANTINED = Counter("log_frames_quarantined_total", "Frames that could not be shipped and were set aside.")
LOST_BYTES = Counter("log_spool_lost_bytes_total", "Bytes of spools that held no readable frame.")


class _PoisonError(Exception):
    """The database refuses the data of a batch."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset


async def ship_forever(database: Database, root: Path, *, idle_seconds: float = IDLE_SECONDS) -> NoReturn:
    """Move every frame under `root` into the log as it comes; when the database is away, wait for it."""
    shipper, outage, told_rows = Shipper(database, root), Outage("shipping"), 0
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            has_more = await shipper.ship_round()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed and nothing is lost
            _tell(outage, error)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
            continue
        pause_seconds = FIRST_PAUSE_SECONDS
        if not has_more:  # what waited is there
            outage.is_over(rows_shipped=shipper.rows - told_rows)
            told_rows = shipper.rows
        await asyncio.sleep(0 if has_more else idle_seconds)


def _tell(outage: Outage, error: Exception) -> None:
    if is_connection_trouble(error):
        outage.goes_on(error)
    else:
        log.error("shipping_failed", exc_info=error)


class Shipper:
    """Reads spools on, segment by segment, oldest first; what it remembers only saves it work.

    Attributes:
        rows: how many it has shipped.
    """

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self._root = root
        self._settled_sizes: dict[Path, int] = {}
        self._frame_limits: dict[Path, int] = {}
        self._plans = Plans()
        self.rows = 0

    async def ship_round(self) -> bool:
        """Ship one batch of each spool; whether more waits than that.

        What a process wrote meanwhile does not count: a batch costs as much as five hundred rows, so a few rows
        wait for the next ones to come.

        Raises:
            Exception: whatever went wrong first, after every other spool had its turn.
        """
        results = [await self._try_spool(spool) for spool in self._spools()]
        for result in results:
            if isinstance(result, Exception):
                raise result
        return any(results)

    def _spools(self) -> list[Path]:
        return [path for path in sorted(self._root.glob("*")) if path.is_dir()]

    async def _try_spool(self, spool: Path) -> bool | Exception:
        try:
            for path in sorted(spool.glob(f"*{SUFFIX}")):
                with suppress(FileNotFoundError), Segment.opened(path) as segment:
                    if await self._ship_segment(segment):
                        return True
        except Exception as error:  # noqa: BLE001 - told by `ship_round`, once the others had their turn
            return error
        return False

    async def _ship_segment(self, segment: Segment) -> bool:
        """Ship one batch of a segment, and delete it after its last; whether more waits here or may wait behind."""
        if segment.size == self._settled_sizes.get(segment.path, 0) and not segment.is_closed:
            return False
        limit = self._frame_limits.get(segment.path, MAX_FRAMES)
        try:
            stretch = await self._move(segment, limit)
        except _PoisonError as poison:
            await self._narrow_down(segment, limit, poison)
            return True
        self._frame_limits[segment.path] = min(2 * limit, MAX_FRAMES)
        has_moved, is_read = stretch.end > stretch.start, stretch.end >= segment.size
        if is_read or not has_moved:
            self._settle(segment)
        return has_moved and (segment.is_closed or not is_read)

    def _settle(self, segment: Segment) -> None:
        """Come back when there is more; never, if nobody writes to it any more."""
        self._settled_sizes[segment.path] = segment.size
        if segment.is_closed:
            segment.path.unlink(missing_ok=True)
            del self._settled_sizes[segment.path], self._frame_limits[segment.path]

    async def _move(self, segment: Segment, max_frames: int) -> Stretch:
        """One transaction: rows into the log, the offset behind them."""
        async with self._database.writes(_SHIPPER) as session:
            position = await _lock_position(session, segment)
            stretch = segment.read(position.offset, max_bytes=MAX_BYTES, max_frames=max_frames)
            batch = collect(stretch.pieces)
            for piece, reason in batch.unreadable:
                self._quarantine(segment, piece, reason)
            for damage in stretch.damages:
                self._report(segment, damage)
            await self._absorb_or_blame(session, batch, stretch.start, segment.path.parent.name)
            _advance(position, stretch, batch)
        ROWS.inc(batch.rows)
        self.rows += batch.rows
        return stretch

    async def _absorb_or_blame(self, session: AsyncSession, batch: Batch, offset: int, spool: str) -> None:
        if not batch.requests:
            return
        try:
            await absorb(session, batch, self._plans, spool)
        except (
            ValueError,
            OverflowError,
            struct.error,
        ) as error:  # numbers that are none, texts that are no text
            raise _PoisonError(offset, str(error)) from error
        except (asyncpg.PostgresError, DBAPIError) as error:
            state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
            if state.startswith(_POISON):
                raise _PoisonError(offset, str(error)) from error
            raise

    async def _narrow_down(self, segment: Segment, limit: int, poison: _PoisonError) -> None:
        """Halve the batch until the frame is alone that the database refuses; then go on without it."""
        if limit > 1:
            self._frame_limits[segment.path] = limit // 2
            return
        async with self._database.writes(_SHIPPER) as session:
            position = await _lock_position(session, segment)
            if position.offset == poison.offset:
                stretch = segment.read(position.offset, max_bytes=MAX_BYTES, max_frames=1)
                for piece in stretch.pieces:
                    self._quarantine(segment, piece, str(poison))
                _advance(position, stretch, Batch(unreadable=[(piece, "") for piece in stretch.pieces]))

    def _quarantine(self, segment: Segment, piece: Piece, reason: str) -> None:
        set_aside(self._root, segment.id, piece.start, piece.payload, reason)
        QUARANTINED.inc()
        log.error("frame_quarantined", segment=str(segment.path), offset=piece.start, reason=reason)

    def _report(self, segment: Segment, damage: Damage) -> None:
        """A torn end is what a crash leaves of a write that nobody was told of; anything else is a broken disk."""
        LOST_BYTES.inc(len(damage.content))
        where = {"segment": str(segment.path), "offset": damage.start, "bytes": len(damage.content)}
        if damage.is_tail:
            log.warning("spool_tail_torn", **where)
        else:
            set_aside(self._root, segment.id, damage.start, damage.content, "no readable frame")
            log.error("spool_damaged", **where)


async def _lock_position(session: AsyncSession, segment: Segment) -> SpoolPosition:
    """How far a segment has been shipped, for nobody else to change until this transaction ends."""
    first = insert(SpoolPosition).values(
        segment_id=segment.id, spool=segment.path.parent.name, shipped_at=clock.now()
    )
    await session.execute(first.on_conflict_do_nothing())
    return await session.get_one(SpoolPosition, segment.id, with_for_update=True)


def _advance(position: SpoolPosition, stretch: Stretch, batch: Batch) -> None:
    position.offset = stretch.end
    position.frames += len(batch.requests)
    position.rows += batch.rows
    position.quarantined += len(batch.unreadable)
    position.lost_bytes += sum(len(damage.content) for damage in stretch.damages)
    position.shipped_at = clock.now()
