"""How far the database is behind what was answered.

What lies in the spools is known without the database; how much of it has been shipped already, only it can say. While it is
away, what it said last is taken: nothing comes back from there, so what is told then is never too little.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from app.core import clock
from app.core.database import Reading
from app.core.health import Condition, Part
from app.core.ids import time_of
from app.evidence.frames import UnreadableFrameError, decode_frame
from app.evidence.quarantine import count_set_aside
from app.evidence.segments import SUFFIX, Segment
from app.evidence.tables import SpoolPosition

LATE_SECONDS = 60.0
NEARLY_FULL = 0.8
TYPICAL_FRAME_BYTES = 1024
_PEEK_BYTES = 64 * 1024


class Shipped(NamedTuple):
    """How much of a segment the database has."""

    offset: int
    frames: int


_NOTHING = Shipped(0, 0)


@dataclass(frozen=True)
class Backlog:
    """What waits in the spools of this machine.

    Attributes:
        bytes: not shipped yet.
        frames: about how many requests that is.
        oldest_seconds: how long the first of them has waited.
        quarantined: pieces that can't be shipped and were set aside.
        fullest: the share of what it may hold that the fullest spool does.
        is_exact: whether the database said what has been shipped; else these are upper bounds.
    """

    bytes: int
    frames: int
    oldest_seconds: float
    quarantined: int
    fullest: float
    is_exact: bool


@dataclass
class Spools:
    """The spools of this machine, each of which may hold `limit_bytes`."""

    root: Path
    limit_bytes: int
    _shipped: Mapping[UUID, Shipped] = field(default_factory=dict)

    async def examine(self, session: Reading) -> Part:
        """How the prediction log is, for the health report."""
        try:
            return judge_backlog(await self.measure(session), self.root)
        except OSError as error:
            return _unreadable(error)

    def examine_alone(self) -> Part:
        """As much of that as is known while the database is away."""
        try:
            return judge_backlog(self._compare(_segment_sizes(self.root), is_exact=False), self.root)
        except OSError as error:
            return _unreadable(error)

    async def measure(self, session: Reading) -> Backlog:
        """Compare the files with the offsets that the database has; one glance into the oldest file that waits."""
        sizes = _segment_sizes(self.root)
        self._shipped = await _read_shipped(session, sizes)
        return self._compare(sizes, is_exact=True)

    def _compare(self, sizes: Mapping[Path, int], *, is_exact: bool) -> Backlog:
        offsets = {path: self._shipped.get(UUID(path.stem), _NOTHING).offset for path in sizes}
        waiting = {path: size - offsets[path] for path, size in sizes.items() if size > offsets[path]}
        total = sum(waiting.values())
        oldest = min(waiting, key=lambda path: path.stem, default=None)
        return Backlog(
            bytes=total,
            frames=total // _mean_frame_bytes(self._shipped.values()),
            oldest_seconds=0.0 if oldest is None else _seconds_waited(oldest, offsets[oldest]),
            quarantined=count_set_aside(self.root),
            fullest=round(_largest(sizes) / self.limit_bytes, 3),
            is_exact=is_exact,
        )


def judge_backlog(backlog: Backlog, root: Path) -> Part:
    """Pieces that nobody looks after, a spool that will soon refuse, rows that are late: each is degraded."""
    problems = list(_problems_of(backlog, root))
    return Part(Condition.DEGRADED if problems else Condition.OK, "; ".join(problems), asdict(backlog))


def _problems_of(backlog: Backlog, root: Path) -> Iterable[str]:
    if backlog.quarantined:
        yield f"{backlog.quarantined} pieces can't be shipped: {root}/quarantine"
    if backlog.fullest > NEARLY_FULL:
        yield f"the fullest spool holds {backlog.fullest:.0%} of what it may"
    if not backlog.is_exact:
        waiting = f"at most {backlog.bytes} bytes for at most {backlog.oldest_seconds:.0f} s"
        yield f"what is logged waits in the spools while the database is away, {waiting}"
    elif backlog.oldest_seconds > LATE_SECONDS:
        yield f"the log is {backlog.oldest_seconds:.0f} s behind"


def _unreadable(error: OSError) -> Part:
    return Part(Condition.DEGRADED, f"the spools can't be read: {error.strerror or error}")


async def _read_shipped(session: Reading, paths: Iterable[Path]) -> Mapping[UUID, Shipped]:
    segment_ids = [UUID(path.stem) for path in paths]
    rows = await session.scalars(select(SpoolPosition).where(SpoolPosition.segment_id.in_(segment_ids)))
    return {row.segment_id: Shipped(row.offset, row.frames) for row in rows}


def _mean_frame_bytes(shipped: Iterable[Shipped]) -> int:
    offset, frames = map(sum, zip(_NOTHING, *shipped, strict=True))
    return offset // frames if frames else TYPICAL_FRAME_BYTES


def _largest(sizes: Mapping[Path, int]) -> int:
    """The size of the largest spool, which is what its process compares with the limit."""
    spools: Counter[Path] = Counter()
    for path, size in sizes.items():
        spools[path.parent] += size
    return max(spools.values(), default=0)


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
