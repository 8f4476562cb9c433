"""Frames of a spool, made ready for one transaction."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from app.core.processes import give_way
from app.evidence.copying import HEADER, TRAILER, copy_rows, days_of
from app.evidence.frames import LoggedRequest, UnreadableFrameError, decode_frame
from app.evidence.segments import FRAMES_PER_TURN, Piece

ROWS_PER_CHUNK = 128


@dataclass(slots=True)
class Batch:
    """What one transaction brings into the log.

    Attributes:
        requests: what was asked and answered, for whoever counts and sums.
        unreadable: frames that arrived whole but mean nothing, and why.
    """

    requests: list[LoggedRequest] = field(default_factory=list)
    unreadable: list[tuple[Piece, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows the log grows by."""
        return sum(request.rows for request in self.requests)

    @property
    def days(self) -> set[date]:
        """The days of the log that the rows belong to."""
        return days_of(self.requests)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The rows as COPY reads them, some at a time, so that the database works while the next are made."""
        yield HEADER
        chunk, rows = [], 0
        for request in self.requests:
            chunk.append(request)
            rows += request.rows
            if rows >= ROWS_PER_CHUNK:
                yield copy_rows(chunk)
                give_way()
                chunk, rows = [], 0
        yield copy_rows(chunk) + TRAILER


def collect(pieces: Sequence[Piece]) -> Batch:
    """What some frames tell of."""
    batch = Batch()
    for number, piece in enumerate(pieces):
        if number % FRAMES_PER_TURN == 0:
            give_way()
        try:
            batch.requests.append(decode_frame(piece.payload))
        except UnreadableFrameError as error:
            batch.unreadable.append((piece, str(error)))
    return batch
