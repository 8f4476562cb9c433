"""How far the database is behind what was answered."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.core import clock
from app.core.database import Database, Reading
from app.core.health import Condition, Part
from app.core.ids import time_of
from app.evidence.frames import UnreadableFrameError, decode_frame
from app.evidence.quarantine import count_set_aside
from app.evidence.segments import SUFFIX, Segment
from app.evidence.tables import SpoolPosition

LATE_SECONDS = 60.0
TYPICAL_FRAME_BYTES = 1024
_PEEK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Backlog:
    """What waits in the spools of this machine.

    Attributes:
        bytes: not shipped yet.
        frames: about how many requests that is.
        oldest_seconds: how long the first of them has waited.
        quarantined: pieces that can't be shipped and were set aside.
    """

    bytes: int
    frames: int
    oldest_seconds: float
    quarantined: int


async def measure_backlog(session: Reading, root: Path) -> Backlog:
    """Compare the spools' files with the offsets that the database has; one glance into the oldest file that waits."""
    sizes = _segment_sizes(root)
    positions = await _positions_of(session, sizes)
    offsets = {segment_id: position.offset for segment_id, position in positions.items()}
    waiting = {
        path: size - offsets.get(UUID(path.stem), 0)
        for path, size in sizes.items()
        if size > offsets.get(UUID(path.stem), 0)
    }
    total = sum(waiting.values())
    oldest = min(waiting, key=lambda path: path.stem, default=None)
    seconds = 0.0 if oldest is None else _seconds_waited(oldest, offsets.get(UUID(oldest.stem), 0))
    return Backlog(total, total // _mean_frame_bytes(positions), seconds, count_set_aside(root))


async def _positions_of(session: Reading, paths: Iterable[Path]) -> dict[UUID, SpoolPosition]:
    segment_ids = [UUID(path.stem) for path in paths]
    rows = await session.scalars(select(SpoolPosition).where(SpoolPosition.segment_id.in_(segment_ids)))
    return {row.segment_id: row for row in rows}


def _mean_frame_bytes(positions: Mapping[UUID, SpoolPosition]) -> int:
    frames = sum(position.frames for position in positions.values())
    return (
        sum(position.offset for position in positions.values()) // frames if frames else TYPICAL_FRAME_BYTES
    )


def _seconds_waited(path: Path, offset: int) -> float:
    """The age of the frame at an offset; none when it is gone or torn."""
    with suppress(FileNotFoundError, UnreadableFrameError), Segment.opened(path) as segment:
        for piece in segment.read(offset, max_bytes=_PEEK_BYTES, max_frames=1).pieces:
            request = decode_frame(piece.payload)
            first = request.ids[0] if request.ids else request.refused[0][0]
            return max((clock.now() - time_of(first)).total_seconds(), 0.0)
    return 0.0


def _segment_sizes(root: Path) -> dict[Path, int]:
    sizes = {}
    for path in root.glob(f"*/*{SUFFIX}"):
        with suppress(FileNotFoundError):  # shipped and deleted meanwhile
            sizes[path] = path.stat().st_size
    return sizes


async def examine_log(database: Database, root: Path) -> Part:
    """How the prediction log is, for the health report."""
    try:
        async with database.reads() as session:
            backlog = await measure_backlog(session, root)
    except (SQLAlchemyError, OSError) as error:
        return Part(Condition.DEGRADED, f"rows wait in the spool: {type(error).__name__}")
    figures = asdict(backlog)
    if backlog.quarantined:
        return Part(
            Condition.DEGRADED, f"{backlog.quarantined} pieces can't be shipped: {root}/quarantine", figures
        )
    if backlog.oldest_seconds > LATE_SECONDS:
        return Part(Condition.DEGRADED, f"the log is {backlog.oldest_seconds:.0f} s behind", figures)
    return Part(Condition.OK, figures=figures)
