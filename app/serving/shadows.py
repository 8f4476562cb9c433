"""Shadows: versions that score requests after their answers have left, and that no caller ever waits for."""

import asyncio
import random
import time
from dataclasses import replace

from app.core.errors import Refusal
from app.core.ids import new_ids
from app.runtimes.cache import ModelCache, ReadyVersion
from app.runtimes.rows import Rows
from app.serving.answers import Part, PredictAnswer
from app.serving.errors import ColumnsDiffer
from app.serving.figures import SHADOWS_DROPPED
from app.serving.journal import Journal
from app.serving.lines import Line
from app.serving.sources import SmallBody, Source
from app.traffic.rules import Shadow


class Shadows:
    """The shadow scoring of this process, bounded in rows: what finds no room is dropped and counted."""

    def __init__(
        self, cache: ModelCache, journal: Journal, *, queue_rows: int, deadline_seconds: float
    ) -> None:
        self._cache = cache
        self._journal = journal
        self._queue_rows = queue_rows
        self._deadline_seconds = deadline_seconds
        self._waiting_rows = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, answer: PredictAnswer, line: Line, source: Source) -> None:
        """Have an answered request scored by its route's shadows as well, if there is room."""
        for shadow in line.route.shadows:
            if random.random() >= shadow.share:  # noqa: S311 - a sample, not a secret
                continue
            if self._waiting_rows + answer.rows > self._queue_rows:
                SHADOWS_DROPPED.inc()
                continue
            self._waiting_rows += answer.rows
            task = asyncio.create_task(self._follow(shadow, answer, line, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the shadows that are still to be scored."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _follow(self, shadow: Shadow, answer: PredictAnswer, line: Line, source: Source) -> None:
        try:
            version = await self._cache.get_ready(shadow.version_id)
            await self._journal.record(await self._score(version, shadow, answer, source), line)
        except Refusal:
            SHADOWS_DROPPED.inc()
        finally:
            self._waiting_rows -= answer.rows

    async def _score(
        self, version: ReadyVersion, shadow: Shadow, answer: PredictAnswer, source: Source
    ) -> PredictAnswer:
        began = time.perf_counter()
        deadline = time.monotonic() + self._deadline_seconds
        parts = [
            Part(rows, await version.batcher.score(rows, deadline=deadline), new_ids(rows.count))
            for rows in await _rows_for(version, answer, source)
        ]
        return replace(
            answer,
            version=version,
            arm=None,
            propensity=shadow.share,
            parts=parts,
            latency_ms=(time.perf_counter() - began) * 1000,
            is_shadow=True,
        )


async def _rows_for(version: ReadyVersion, answer: PredictAnswer, source: Source) -> list[Rows]:
    """The request's rows as the shadow takes them: read again where it takes other columns than who answered."""
    if version.signature.inputs == answer.version.signature.inputs:
        return [part.rows for part in answer.parts]
    if not isinstance(source, SmallBody):
        raise ColumnsDiffer
    return [await source.read(version.signature)]
