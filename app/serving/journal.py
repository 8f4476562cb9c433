"""Answers on their way into the prediction log: recorded in the spool before anybody is told."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.errors import NoSpace
from app.evidence.frames import Origin, ScoredRequest, encode_frame
from app.evidence.spool import Spool
from app.serving.answers import Part, PredictAnswer
from app.serving.figures import RECORDS_DROPPED
from app.serving.lines import LogMode

_MOST_ORIGINS = 4096  # revisions come and go; what is dropped is made anew


class Journal:
    """Writes answers to this process's spool, as safely as each model asks for."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._origins: dict[tuple[object, ...], Origin] = {}

    async def record(self, answer: PredictAnswer) -> None:
        """Return once the answer is as safe as its line promises.

        Raises:
            NoSpace: there is no room for it; it must not be given.
        """
        line = answer.line
        if line.log_mode is LogMode.DURABLE:
            self._spool.append(*await self._frames(answer, 1.0))
        elif line.log_mode is LogMode.FSYNC:
            await self._spool.append_synced(*await self._frames(answer, 1.0))
        elif random.random() < line.log_probability:  # noqa: S311 - a sample, not a secret
            with _dropped_without_room():
                self._spool.append(*await self._frames(answer, line.log_probability))

    async def _frames(self, answer: PredictAnswer, log_probability: float) -> list[bytes]:
        """One frame for each part; the event loop has its turn between two of them."""
        origin = self._origin_of(answer, log_probability)
        frames: list[bytes] = []
        for part in answer.parts:
            if frames:
                await asyncio.sleep(0)
            frames.append(encode_frame(_scored_request(origin, answer, part)))
        return frames

    def _origin_of(self, answer: PredictAnswer, log_probability: float) -> Origin:
        choice = answer.choice
        key = (
            choice.version_id,
            choice.arm,
            choice.propensity,
            answer.revision,
            answer.envelope.environment,
            answer.is_shadow,
            log_probability,
        )
        if (origin := self._origins.get(key)) is None:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            origin = self._origins[key] = _make_origin(answer, log_probability)
        return origin


@contextmanager
def _dropped_without_room() -> Iterator[None]:
    try:
        yield
    except NoSpace:
        RECORDS_DROPPED.inc()


def _make_origin(answer: PredictAnswer, log_probability: float) -> Origin:
    version = answer.version
    return Origin(
        version.model_name,
        version.version_id,
        version.number,
        tuple(str(column.type) for column in version.signature.inputs),
        answer.envelope.environment,
        answer.revision,
        answer.choice.arm or None,
        answer.choice.propensity,
        answer.is_shadow,
        log_probability,
    )


def _scored_request(origin: Origin, answer: PredictAnswer, part: Part) -> ScoredRequest:
    rows, scored = part.rows, part.scored
    return ScoredRequest(
        origin, answer.request_id, answer.caller, answer.entity_id, answer.latency_ms,
        ids=part.good_ids,
        features=rows.values if rows.matrix is None else rows.matrix,
        predictions=scored.scores.prediction,
        probabilities=scored.scores.probabilities,
        failures=scored.failures,
        refused=[(part.ids[i], [error.to_json() for error in errors]) for i, errors in rows.errors.items()],
    )  # fmt: skip
