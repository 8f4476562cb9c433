"""Adaptive micro-batching: nobody waits for company, and who arrives while the model is busy rides together."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from app.runtimes.errors import DeadlinePassed, QueueFull
from app.runtimes.isolation import MODEL_ERRORS, Scored, join_scored, score_isolated, score_merged
from app.runtimes.pace import Pace
from app.runtimes.rows import Rows
from app.runtimes.scores import Model, Scores

INLINE_SECONDS = (
    0.002  # a shorter batch is scored on the event loop: a thread would take its turns from it anyway
)
BATCH_SECONDS = 0.05  # the longest that one call may keep the interpreter's lock from the event loop, if any row is so fast
WATCH_SECONDS = 0.05  # how often deadlines are looked at while a model is busy in its thread


@dataclass(eq=False, slots=True)
class _Ticket:
    rows: Rows
    count: int
    deadline: float
    answer: asyncio.Future[Scored]

    def settle(self, scored: Scored) -> None:
        if not self.answer.done():
            self.answer.set_result(scored)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Queue:
    """Tickets in order of arrival. Those whose callers have left stay until somebody needs their place."""

    def __init__(self) -> None:
        self._tickets: deque[_Ticket] = deque()
        self.rows = 0

    def __iter__(self) -> Iterator[_Ticket]:
        return iter(self._tickets)

    def append(self, ticket: _Ticket) -> None:
        self._tickets.append(ticket)
        self.rows += ticket.count

    def forget_settled(self) -> None:
        """Drop the tickets that need no answer any more."""
        self._tickets = deque(ticket for ticket in self._tickets if not ticket.answer.done())
        self.rows = sum(ticket.count for ticket in self._tickets)

    def take(self, limit: int) -> list[_Ticket]:
        """The longest run of tickets from the front that holds at most `limit` rows; never none while one waits."""
        taken: list[_Ticket] = []
        rows = 0
        while self._tickets and (not taken or rows + self._tickets[0].count <= limit):
            ticket = self._tickets.popleft()
            self.rows -= ticket.count
            if not ticket.answer.done():
                taken.append(ticket)
                rows += ticket.count
        return taken


class Batcher:
    """The way to one loaded model.

    Requests of one turn of the event loop are scored in one call: a batch that is measured as tiny on the loop
    itself, any other in the model's own thread, while later arrivals queue up as the next batch.
    """

    def __init__(self, model: Model, pace: Pace, *, queue_rows: int) -> None:
        self._model = model
        self._pace = pace
        self._queue_rows = queue_rows
        self._batch_rows = pace.rows_within(BATCH_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._queue = _Queue()
        self._is_busy = False
        self._thread: Executor | None = None
        self._work: asyncio.Task[None] | None = None

    @property
    def queued_rows(self) -> int:
        """How many rows wait for the model."""
        self._queue.forget_settled()
        return self._queue.rows

    def score_at_once(self, batches: Sequence[Rows], together: Rows | None = None) -> list[Scored] | None:
        """The answers to several requests without waiting; None where the model is busy, slow, or refuses a row.

        `together`, where they were read as one, holds the rows of all.
        """
        count = sum([len(rows.good) for rows in batches])
        if self._is_busy or not count or self._pace.seconds(count) > INLINE_SECONDS:
            return None
        try:
            return score_merged(self._model, batches, together)
        except MODEL_ERRORS:
            return None

    def score(self, rows: Rows, *, deadline: float) -> Awaitable[Scored]:
        """The answers for the good rows; `deadline` is on the clock of `time.monotonic`.

        Raises:
            QueueFull: too many rows are waiting already.
            DeadlinePassed: the deadline came before the answer.
        """
        count = len(rows.good)
        self._require_room(min(count, self._batch_rows))
        if 0 < count <= self._batch_rows:
            return self._enqueue(rows, count, deadline)
        return self._score_in_parts(rows, deadline)

    def _require_room(self, count: int) -> None:
        if self._queue.rows and self._queue.rows + count > self._queue_rows:
            self._queue.forget_settled()
            if self._queue.rows and self._queue.rows + count > self._queue_rows:
                raise QueueFull(self._queue.rows, self._queue_rows)

    async def _score_in_parts(self, rows: Rows, deadline: float) -> Scored:
        """One part after the other, so that smaller requests get their turn in between.

        Each is as large as parts may be by then: the first ones teach how large that is.
        """
        parts, start = [], 0
        while start < len(rows.good):
            part = rows.slice(start, start + self._batch_rows)
            parts.append(await self._enqueue(part, len(part.good), deadline))
            start += len(part.good)
        return join_scored(parts) if parts else Scored(Scores([]))

    def _enqueue(self, rows: Rows, count: int, deadline: float) -> asyncio.Future[Scored]:
        ticket = _Ticket(rows, count, deadline, self._loop.create_future())
        self._queue.append(ticket)
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._score_next)
        return ticket.answer

    def _score_next(self) -> None:
        self._expire(self._queue)
        batch = self._queue.take(self._batch_rows)
        if not batch:
            self._is_busy = False
        elif self._pace.seconds(sum([ticket.count for ticket in batch])) <= INLINE_SECONDS:
            self._score_here(batch)
        else:
            self._score_in_thread(batch)

    def _expire(self, tickets: Iterable[_Ticket]) -> None:
        now = time.monotonic()
        for ticket in tickets:
            if ticket.deadline <= now:
                ticket.fail(DeadlinePassed())

    def _score_here(self, batch: list[_Ticket]) -> None:
        try:
            answers = score_merged(self._model, [ticket.rows for ticket in batch])
        except MODEL_ERRORS:
            self._score_in_thread(batch)  # taking a batch apart may take long
        else:
            self._settle(batch, answers)

    def _score_in_thread(self, batch: list[_Ticket]) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="score")
        until = max(ticket.deadline for ticket in batch)
        call = self._loop.run_in_executor(
            self._thread, _score_timed, self._model, [ticket.rows for ticket in batch], until
        )
        self._work = self._loop.create_task(self._follow(call, batch))

    async def _follow(self, call: asyncio.Future[tuple[list[Scored], float]], batch: list[_Ticket]) -> None:
        while not call.done():
            await asyncio.wait([call], timeout=WATCH_SECONDS)
            self._expire([*batch, *self._queue])
        if error := call.exception():
            for ticket in batch:
                ticket.fail(error)
            self._score_next()
            return
        answers, seconds = call.result()
        if not any(scored.failures for scored in answers):
            self._pace.learn(sum(ticket.count for ticket in batch), seconds)
            self._batch_rows = self._pace.rows_within(BATCH_SECONDS)
        self._settle(batch, answers)

    def _settle(self, batch: list[_Ticket], answers: list[Scored]) -> None:
        for ticket, scored in zip(batch, answers, strict=True):
            ticket.settle(scored)
        self._score_next()


def _score_timed(model: Model, batches: Sequence[Rows], until: float) -> tuple[list[Scored], float]:
    began = time.thread_time()
    answers = score_isolated(model, batches, until=until)
    return answers, time.thread_time() - began
