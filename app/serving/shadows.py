"""Shadows: versions that score requests after their answers have left, and that no caller ever waits for."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from app.core.errors import Refusal
from app.runtimes.cache import ModelCache, ReadyVersion
from app.runtimes.rows import Rows
from app.runtimes.schema import Signature
from app.serving.answers import Part, PredictAnswer
from app.serving.errors import ColumnsDiffer
from app.serving.figures import SHADOWS_DROPPED
from app.serving.journal import Journal
from app.traffic.live import Choice
from app.traffic.rules import Shadow

Reread = Callable[[Signature], Rows]


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

    def offer(self, answer: PredictAnswer, reread: Reread | None = None) -> None:
        """Have an answered request scored by its route's shadows as well, if there is room.

        `reread` reads the body's rows again, for a shadow that takes other columns than who answered.
        """
        for shadow in answer.line.route.shadows:
            if random.random() >= shadow.share:  # noqa: S311 - a sample, not a secret
                continue
            if self._waiting_rows + answer.rows > self._queue_rows:
                SHADOWS_DROPPED.inc()
                continue
            self._waiting_rows += answer.rows
            task = asyncio.create_task(self._follow(shadow, answer, reread))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the shadows that are still to be scored."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _follow(self, shadow: Shadow, answer: PredictAnswer, reread: Reread | None) -> None:
        try:
            version = await self._cache.get_ready(shadow.version_id)
            unseen = replace(
                answer,
                version=version,
                choice=Choice("", shadow.version_id, shadow.share),
                began=time.monotonic(),
                is_shadow=True,
            )
            unseen.finish(await self._score(unseen, _rows_for(version, answer, reread)))
            await self._journal.record(unseen)
            unseen.require_answers()
        except Refusal:
            SHADOWS_DROPPED.inc()
        finally:
            self._waiting_rows -= answer.rows

    async def _score(self, unseen: PredictAnswer, batches: Sequence[Rows]) -> list[Part]:
        deadline = unseen.began + self._deadline_seconds
        return [Part(rows, await unseen.version.batcher.score(rows, deadline=deadline)) for rows in batches]


def _rows_for(version: ReadyVersion, answer: PredictAnswer, reread: Reread | None) -> list[Rows]:
    if version.signature.inputs == answer.version.signature.inputs:
        return [part.rows for part in answer.parts]
    if reread is None:
        raise ColumnsDiffer
    return [reread(version.signature)]
