"""The core of predict, behind every door that scores: resolve, choose, read, score, record."""

import asyncio
import time
from dataclasses import replace
from functools import partial
from uuid import UUID

from app.core.access import Caller, Role, RoleTooLow, admit
from app.core.config import Settings
from app.runtimes.cache import ModelCache, ReadyVersion
from app.runtimes.errors import DeadlinePassed
from app.runtimes.rows import Rows
from app.serving.answers import Part, PredictAnswer, PredictRequest
from app.serving.company import Company
from app.serving.dialects import Envelope
from app.serving.errors import UnknownArm
from app.serving.journal import Journal
from app.serving.lines import Line, Lines
from app.serving.readers import Readers, is_small
from app.serving.shadows import Shadows
from app.traffic.live import Choice

PART_ROWS = 1000  # what of a large body is scored, encoded and recorded between two turns of the event loop
PART_CELLS = 50_000  # the same where rows are wide


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
        rows = await self._company.join(answer, read_rows, request.encode)
        if rows is not None:
            answer.finish([await self._score(answer, rows)], rows.warnings)
            await self._journal.record(answer)
        if answer.line.route.shadows:
            self._shadows.offer(answer, read_rows)
        return answer

    async def _predict_large(self, request: PredictRequest, began: float) -> PredictAnswer:
        deadline = began + self._deadline_seconds
        async with self._readers.lend(request.body, request.dialect, deadline=deadline) as body:
            answer = await self._aim(request, await body.open(), began)
            signature = answer.version.signature
            rows = await body.read(signature, max_rows=self._max_rows)
            step = min(PART_ROWS, max(1, PART_CELLS // len(signature.inputs)))
            parts = [
                await self._score(answer, await body.window(start, min(start + step, rows.count)))
                for start in range(0, rows.count, step)
            ]
        answer.finish(parts, rows.warnings)
        await self._journal.record(answer)
        self._shadows.offer(answer)
        return answer

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
