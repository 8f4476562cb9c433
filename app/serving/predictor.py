"""The core of predict, behind every door that scores: resolve, choose, read, score, record."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from app.core.access import Caller, Role, RoleTooLow, admit
from app.core.config import Settings
from app.runtimes.cache import ModelCache, ReadyVersion
from app.runtimes.errors import DeadlinePassed
from app.runtimes.isolation import OUT_OF_TIME, failed
from app.runtimes.rows import Rows
from app.runtimes.schema import Signature
from app.runtimes.typed import PlainBody
from app.serving.answers import Part, PredictAnswer, PredictRequest
from app.serving.company import Company, Outcome, Seat
from app.serving.dialects import DEFAULT_ENVIRONMENT, Envelope, read_option
from app.serving.errors import UnknownArm
from app.serving.journal import Journal
from app.serving.lines import Line, Lines
from app.serving.readers import SMALL_BYTES, SMALL_ROWS, LargeBody, Readers, is_small
from app.serving.shadows import Shadows
from app.traffic.live import Choice

PART_ROWS = 1000  # what of a large body is scored, encoded and recorded between two turns of the event loop
PART_CELLS = 50_000  # the same where rows are wide
_PLAIN = Envelope()


class Predictor:
    """Answers predict requests from memory; no database is asked on the way."""

    def __init__(
        self,
        *,
        lines: Lines,
        cache: ModelCache,
        journal: Journal,
        shadows: Shadows,
        readers: Readers,
        settings: Settings,
    ) -> None:
        self._lines = lines
        self._cache = cache
        self._journal = journal
        self._company = Company(journal)
        self._shadows = shadows
        self._readers = readers
        self._max_rows = settings.max_rows
        self._deadline_seconds = settings.predict_deadline_ms / 1000

    async def predict(self, request: PredictRequest) -> PredictAnswer:
        """Score the rows of a request with the version that its reference leads to, and record the answer.

        Raises:
            Malformed, Invalid: the body can't be read, or no row of it could be scored.
            NotFound, Forbidden: there is no such model or arm for this caller.
            TooMany, Unavailable, TimedOut, NoSpace: not now.
        """
        admit(request.caller, Role.CALLER, request.reference)
        began = time.monotonic()
        if not is_small(request.body):
            return await self._predict_large(request, began)
        payload = request.dialect.decode(request.body)
        answer = await self._aim(request, request.dialect.read_envelope(payload), began)
        read_rows = partial(request.dialect.read_rows, payload, max_rows=self._max_rows)
        return await self._complete(Seat(answer, read_rows, encode=request.encode))

    async def predict_plain(self, request: PredictRequest) -> PredictAnswer | None:
        """The same for what most requests are; None, with nothing done, for one that `predict` has to take.

        Raises:
            Refusal: as `predict`.
        """
        seat = self.seat_plain(request)
        return None if seat is None else await self._complete(seat)

    def seat_plain(self, request: PredictRequest) -> Seat | None:
        """A request with rows in the types that the signature wants, for a version in memory, ready to join.

        Raises:
            Refusal: it will not be answered.
        """
        admit(request.caller, Role.CALLER, request.reference)
        began = time.monotonic()
        line = self._lines.find(request.reference, DEFAULT_ENVIRONMENT)
        return self._aim_plain(line, request, began) if line and len(request.body) <= SMALL_BYTES else None

    def join(self, seat: Seat, outcome: Outcome) -> None:
        """Take a request into the company of those that are here; `finish` does the rest, should any be left."""
        self._company.join(seat, outcome)

    async def finish(self, seat: Seat, rows: Rows | None) -> None:
        """What company left to do: score the rows that it did not, record, and show the request to shadows."""
        if rows is not None:
            try:
                seat.answer.finish([await self._score(seat.answer, rows)], rows.warnings)
            except DeadlinePassed:
                await self._record_failed(seat.answer, [rows])
                raise
            await self._journal.record(seat.answer)
            seat.answer.require_answers()
        self.offer_to_shadows(seat)

    def offer_to_shadows(self, seat: Seat) -> None:
        """Have a request that was answered scored by its route's shadows, after this."""
        if seat.answer.line.route.shadows:
            self._shadows.offer(seat.answer, seat.read_rows)

    async def _complete(self, seat: Seat) -> PredictAnswer:
        outcome = asyncio.get_running_loop().create_future()
        self.join(seat, outcome)
        await self.finish(seat, await outcome)
        return seat.answer

    def _aim_plain(self, line: Line, request: PredictRequest, began: float) -> Seat | None:
        choice = line.route.choose(request.entity_id)
        version = self._cache.find_ready(choice.version_id)
        if version is None or version.reader is None:
            return None
        body = version.reader.read(request.body, max_rows=min(self._max_rows, SMALL_ROWS))
        if body is None:
            return None
        entity_id = request.entity_id
        if body.entity_id is not None:  # it was not known yet who answers this entity
            entity_id = read_option("entity_id", body.entity_id)
            choice = line.route.choose(entity_id)
            chosen = self._cache.find_ready(choice.version_id)
            if chosen is None or chosen.signature.inputs != version.signature.inputs:
                return None
            version = chosen
        request_id = _request_id(body, request)
        answer = PredictAnswer(
            version, line, choice, _PLAIN, request.caller.name, request_id, entity_id, began
        )
        return Seat(answer, partial(_read_body, request, self._max_rows), body.table, request.encode)

    async def _predict_large(self, request: PredictRequest, began: float) -> PredictAnswer:
        deadline, answer = began + self._deadline_seconds, None
        seen: list[Rows] = []
        try:
            async with self._readers.lend(request.body, request.dialect, deadline=deadline) as body:
                answer = await self._aim(request, await body.open(), began)
                rows = await body.read(answer.version.signature, max_rows=self._max_rows)
                parts = [
                    await self._score(answer, window)
                    async for window in _windows(answer, body, rows.count, seen)
                ]
        except DeadlinePassed:
            if answer is not None:
                await self._record_failed(answer, seen)
            raise
        answer.finish(parts, rows.warnings)
        await self._journal.record(answer)
        answer.require_answers()
        self._shadows.offer(answer)
        return answer

    async def _record_failed(self, answer: PredictAnswer, rows: Sequence[Rows]) -> None:
        """Record what was read of a request whose deadline came first; nobody was told any of it."""
        answer.finish([Part(each, failed(len(each.good), OUT_OF_TIME)) for each in rows])
        await self._journal.record(answer)

    async def _aim(self, request: PredictRequest, envelope: Envelope, began: float) -> PredictAnswer:
        """An answer that knows who gives it, and lacks only the rows."""
        line = await self._lines.resolve(request.reference, envelope.environment)
        entity_id = envelope.entity_id or request.entity_id
        choice = _choose(line, envelope.arm, entity_id, request.caller)
        version = self._cache.find_ready(choice.version_id) or await self._load(choice.version_id, began)
        request_id = envelope.request_id or request.request_id
        return PredictAnswer(
            version, line, choice, envelope, request.caller.name, request_id, entity_id, began
        )

    async def _load(self, version_id: UUID, began: float) -> ReadyVersion:
        try:
            async with asyncio.timeout(began + self._deadline_seconds - time.monotonic()):
                return await self._cache.get_ready(version_id)
        except TimeoutError:
            raise DeadlinePassed from None

    async def _score(self, answer: PredictAnswer, rows: Rows) -> Part:
        deadline = answer.began + self._deadline_seconds
        scored = await answer.version.batcher.score(rows, deadline=deadline)
        return Part(rows, scored)


async def _windows(
    answer: PredictAnswer, body: LargeBody, count: int, seen: list[Rows]
) -> AsyncIterator[Rows]:
    """The rows of a large body in parts, each of which is also kept among those `seen`."""
    step = min(PART_ROWS, max(1, PART_CELLS // len(answer.version.signature.inputs)))
    for start in range(0, count, step):
        seen.append(await body.window(start, min(start + step, count)))
        yield seen[-1]


def _read_body(request: PredictRequest, max_rows: int, signature: Signature) -> Rows:
    payload = request.dialect.decode(request.body)
    return request.dialect.read_rows(payload, signature, max_rows=max_rows)


def _request_id(body: PlainBody, request: PredictRequest) -> str:
    return request.request_id if body.request_id is None else read_option("request_id", body.request_id)


def _choose(line: Line, arm: str | None, entity_id: str | None, caller: Caller) -> Choice:
    """The route's choice, or the arm that an operator asks for: that one was no chance."""
    if arm is None:
        return line.route.choose(entity_id)
    if caller.role < Role.OPERATOR:
        raise RoleTooLow(Role.OPERATOR.label, caller.role.label)
    choice = line.route.find_arm(arm)
    if choice is None:
        raise UnknownArm(arm, list(line.route.arm_names))
    return replace(choice, propensity=1.0)
