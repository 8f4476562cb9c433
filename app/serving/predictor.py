"""The core of predict, behind every door that scores: resolve, choose, read, score, record."""

import asyncio
import time
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from typing import Any

from app.core.access import Caller, Role, RoleTooLow, admit
from app.core.config import Settings
from app.core.ids import new_ids
from app.runtimes.cache import ModelCache, ReadyVersion
from app.runtimes.errors import DeadlinePassed
from app.serving.answers import Part, PredictAnswer, PredictRequest
from app.serving.errors import NothingScored, UnknownArm
from app.serving.figures import count_answer
from app.serving.journal import Journal
from app.serving.lines import Line, Lines
from app.serving.readers import Readers
from app.serving.shadows import Shadows
from app.serving.sources import SmallBody, Source, is_small
from app.traffic.live import Choice

PART_ROWS = 2000  # what is scored, encoded and recorded between two turns of the event loop: 10 ms
TOLD_ERRORS = 20


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
        if is_small(request.body):
            small = SmallBody(request.body, request.dialect, max_rows=self._max_rows)
            return await self._predict_from(small, request, began)
        lent = self._readers.lend(
            request.body,
            request.dialect,
            max_rows=self._max_rows,
            deadline=began + self._deadline_seconds,
        )
        async with lent as large:
            return await self._predict_from(large, request, began)

    async def _predict_from(self, source: Source, request: PredictRequest, began: float) -> PredictAnswer:
        envelope = await source.open()
        line = await self._lines.resolve(request.reference, envelope.environment)
        entity_id = envelope.entity_id or request.entity_id
        choice = _choose(line, envelope.arm, entity_id, request.caller)
        version = await self._get_ready(choice, began)
        rows = await source.read(version.signature)
        parts = [
            await self._score_part(source, version, start, min(start + PART_ROWS, rows.count), began)
            for start in range(0, rows.count, PART_ROWS)
        ]
        answer = PredictAnswer(
            version=version,
            revision=line.route.revision,
            arm=choice.arm or None,
            propensity=choice.propensity,
            environment=envelope.environment,
            caller=request.caller.name,
            request_id=envelope.request_id or request.request_id,
            entity_id=entity_id,
            parts=parts,
            warnings=rows.warnings,
            latency_ms=(time.monotonic() - began) * 1000,
        )
        await self._seal(answer, line)
        self._shadows.offer(answer, line, source)
        return answer

    async def _get_ready(self, choice: Choice, began: float) -> ReadyVersion:
        ready = self._cache.find_ready(choice.version_id)
        if ready is not None:
            return ready
        try:
            async with asyncio.timeout(began + self._deadline_seconds - time.monotonic()):
                return await self._cache.get_ready(choice.version_id)
        except TimeoutError:
            raise DeadlinePassed from None

    async def _score_part(
        self, source: Source, version: ReadyVersion, start: int, stop: int, began: float
    ) -> Part:
        rows = await source.window(start, stop)
        scored = await version.batcher.score(rows, deadline=began + self._deadline_seconds)
        return Part(rows, scored, new_ids(rows.count))

    async def _seal(self, answer: PredictAnswer, line: Line) -> None:
        """Make an answer one that may be given: something was scored, and it is on record."""
        if not answer.scored_rows:
            raise NothingScored(answer.rows, _first_errors(answer))
        await self._journal.record(answer, line)
        count_answer(answer)


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


def _first_errors(answer: PredictAnswer) -> list[dict[str, Any]]:
    (first, *_) = answer.parts
    errors = sorted(islice(first.errors(), TOLD_ERRORS), key=itemgetter(0))
    return [{"row": position, **error} for position, error in errors]
