"""Requests that arrive at the same time, taken through every stage together.

Sixteen requests that are read into one matrix, scored in one call and recorded in one write cost half of what
they cost one by one: fewer system calls, and code that stays in the processor's caches. Nobody waits for company:
as soon as one turn of the event loop has brought nobody else, those who are there go.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from app.runtimes.cache import ReadyVersion
from app.runtimes.rows import Rows, Table
from app.runtimes.schema import Signature
from app.serving.answers import Part, PredictAnswer
from app.serving.journal import Journal
from app.serving.lines import LogMode

ReadRows = Callable[[Signature], Rows]
Encode = Callable[[PredictAnswer], bytes]
MOST_TOGETHER = 32  # under a steady stream somebody arrives in every turn of the event loop


class Outcome(Protocol):
    """Where it is told what came of a request: a future, or what acts at once."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""

    def set_result(self, rows: Rows | None, /) -> None:
        """The answer is finished and recorded; or here are its rows, for somebody else to score."""

    def set_exception(self, error: Exception, /) -> None:
        """There will be no answer."""


@dataclass(slots=True, eq=False)
class Seat:
    """One request that knows who answers it.

    Attributes:
        answer: what it gets, still without rows.
        read_rows: reads its rows for a signature.
        table: the rows of a plain body, which the version's typed reader has read already.
        encode: makes the bytes of the answer, where the door wants them together with those of others.
        rows: the rows as they are scored.
        outcome: where it is told None once the answer is finished and recorded, else the rows, for somebody else to
            score and record; or an error: the rows can't be read, none could be scored, or there is no room.
    """

    answer: PredictAnswer
    read_rows: ReadRows
    table: Table | None = None
    encode: Encode | None = None
    rows: Rows | None = None
    outcome: Outcome | None = field(init=False, default=None)

    def settle(self) -> None:
        """Tell that the answer is finished and recorded."""
        if outcome := self._take_outcome():
            outcome.set_result(None)

    def leave(self) -> None:
        """Hand the rows back, for somebody else to score and record."""
        if outcome := self._take_outcome():
            outcome.set_result(self.rows)

    def fail(self, error: Exception) -> None:
        """Tell that there will be no answer."""
        if outcome := self._take_outcome():
            outcome.set_exception(error)

    def _take_outcome(self) -> Outcome | None:
        """Whom to tell, once: an outcome knows its seat, and one that stayed here would leave both to the collector."""
        outcome, self.outcome = self.outcome, None
        return None if outcome is None or outcome.done() else outcome


class Company:
    """Answers small requests for models that are scored at once; any other goes on by itself."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seats: list[Seat] = []
        self._seen = 0

    def join(self, seat: Seat, outcome: Outcome) -> None:
        """Take a request in; its outcome is told soon."""
        if not self._seats:
            self._seen = 1
            loop = asyncio.get_running_loop()
            loop.call_soon(self._go_when_nobody_comes, loop)
        seat.outcome = outcome
        self._seats.append(seat)

    def _go_when_nobody_comes(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._seen < len(self._seats) < MOST_TOGETHER:
            self._seen = len(self._seats)
            loop.call_soon(self._go_when_nobody_comes, loop)
        else:
            self._go()

    def _go(self) -> None:
        seats, self._seats = self._seats, []
        by_version: dict[ReadyVersion, list[Seat]] = {}
        for seat in seats:
            by_version.setdefault(seat.answer.version, []).append(seat)
        for version, group in by_version.items():
            try:
                self._take_through(version, group)
            except Exception as error:  # noqa: BLE001 - a defect is a 500 for these; nobody waits for ever
                for seat in group:
                    seat.fail(error)

    def _take_through(self, version: ReadyVersion, seats: Sequence[Seat]) -> None:
        scored = _score(version, *_read(version, seats))
        refusals = self._journal.record_together([seat.answer for seat in scored])
        for seat, refusal in zip(scored, refusals, strict=True):
            if refusal is None:
                _encode(seat)
            else:
                seat.fail(refusal)


def _read(version: ReadyVersion, seats: Sequence[Seat]) -> tuple[list[Seat], Rows | None]:
    """The seats whose rows may be scored together, and those rows as one batch where all were read as one."""
    plain = [seat for seat in seats if seat.table is not None]
    together = _read_plain(version, plain)
    staying = [seat for seat in seats if (seat.rows is not None or _read_alone(seat)) and _may_stay(seat)]
    return staying, together if len(plain) == len(staying) == len(seats) else None


def _read_plain(version: ReadyVersion, seats: Sequence[Seat]) -> Rows | None:
    """Take the rows of plain bodies in as one batch and hand each request its part of it."""
    if not seats:
        return None
    assert version.reader is not None
    tables = [seat.table or () for seat in seats]
    try:
        rows = version.reader.to_rows(list(chain.from_iterable(tables)))
    except OverflowError:  # somebody's integer is beyond float64: each is read by itself
        return None
    start = 0
    for seat, table in zip(seats, tables, strict=True):
        seat.rows = rows.slice(start, start + len(table))
        start += len(table)
    return rows


def _read_alone(seat: Seat) -> bool:
    try:
        seat.rows = seat.read_rows(seat.answer.version.signature)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone
        seat.fail(error)
        return False
    return True


def _may_stay(seat: Seat) -> bool:
    if seat.answer.line.log_mode is LogMode.FSYNC:
        seat.leave()  # its record waits for the disk
        return False
    return True


def _score(version: ReadyVersion, seats: Sequence[Seat], together: Rows | None) -> list[Seat]:
    """The seats that have their answers now."""
    batches = [seat.rows for seat in seats if seat.rows is not None]
    scored = version.batcher.score_at_once(batches, together)
    if scored is None:
        for seat in seats:
            seat.leave()
        return []
    for seat, rows, each in zip(seats, batches, scored, strict=True):
        seat.answer.finish([Part(rows, each)], rows.warnings)
    return list(seats)


def _encode(seat: Seat) -> None:
    try:
        seat.answer.require_answers()
        seat.answer.encoded = seat.encode(seat.answer) if seat.encode else None
    except Exception as error:  # noqa: BLE001 - as in reading
        seat.fail(error)
    else:
        seat.settle()
