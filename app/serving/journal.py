"""Answers on their way out: each gets its prediction ids and is recorded in the spool before anybody is told."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from uuid import UUID

from app.core.errors import NoSpace
from app.core.ids import new_ids
from app.evidence.frames import Origin, ScoredRequest, encode_frame
from app.evidence.spool import Spool
from app.serving.answers import Part, PredictAnswer
from app.serving.figures import RECORDS_DROPPED, count_answers
from app.serving.lines import LogMode

_MOST_ORIGINS = 4096  # revisions come and go; what is dropped is made anew


class Journal:
    """Records answers as safely as each model asks for."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._origins: dict[tuple[object, ...], Origin] = {}
        self._last: tuple[tuple[object, ...], Origin] | None = None

    async def record(self, answer: PredictAnswer) -> None:
        """Return once the answer has its ids and is as safe as its line promises.

        A large answer is prepared part by part, between which the event loop has its turn.

        Raises:
            NoSpace: there is no room for it; it must not be given.
        """
        is_kept, frames = _is_kept(answer), []
        for i, part in enumerate(answer.parts):
            if i:
                await asyncio.sleep(0)
            part.ids = new_ids(part.rows.count)
            if is_kept:
                frames.append(self._frame(answer, part))
        if answer.line.log_mode is LogMode.FSYNC:
            await self._spool.append_synced(*frames)
        else:
            self._append(answer, frames)
        count_answers([answer])

    def record_together(self, answers: Sequence[PredictAnswer]) -> list[NoSpace | None]:
        """Record small answers in one write, and tell for each what kept it from being recorded.

        None of them may be of a line that asks for `LogMode.FSYNC`: nothing is waited for here.
        """
        ids = iter(new_ids(sum([answer.parts[0].rows.count for answer in answers])))
        prepared = [self._prepare(answer, ids) for answer in answers]
        try:
            self._spool.append(*[frame for frames in prepared for frame in frames])
        except NoSpace:
            return [self._try_alone(answer, frames) for answer, frames in zip(answers, prepared, strict=True)]
        count_answers(answers)
        return [None] * len(answers)

    def _prepare(self, answer: PredictAnswer, ids: Iterator[UUID]) -> list[bytes]:
        (part,) = answer.parts
        part.ids = tuple(islice(ids, part.rows.count))
        return [self._frame(answer, part)] if _is_kept(answer) else []

    def _try_alone(self, answer: PredictAnswer, frames: Sequence[bytes]) -> NoSpace | None:
        """What found no room together may find it one by one."""
        try:
            self._append(answer, frames)
        except NoSpace as refusal:
            return refusal
        count_answers([answer])
        return None

    def _append(self, answer: PredictAnswer, frames: Sequence[bytes]) -> None:
        try:
            self._spool.append(*frames)
        except NoSpace:
            if answer.line.log_mode is not LogMode.SAMPLED:
                raise
            RECORDS_DROPPED.inc()

    def _frame(self, answer: PredictAnswer, part: Part) -> bytes:
        return encode_frame(_scored_request(self._origin_of(answer), answer, part))

    def _origin_of(self, answer: PredictAnswer) -> Origin:
        """The origin that those who come together mostly share."""
        alike = (answer.version, answer.line, answer.choice, answer.envelope, answer.is_shadow)
        if self._last is None or self._last[0] != alike:
            self._last = alike, self._look_origin_up(answer)
        return self._last[1]

    def _look_origin_up(self, answer: PredictAnswer) -> Origin:
        choice, environment = answer.choice, answer.envelope.environment
        chosen = (answer.version.model_id, choice.arm, choice.propensity, answer.revision, environment)
        key = (chosen, answer.is_shadow, answer.log_probability)
        if (origin := self._origins.get(key)) is None:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            origin = self._origins[key] = _make_origin(answer)
        return origin


def _is_kept(answer: PredictAnswer) -> bool:
    probability = answer.log_probability
    return probability == 1.0 or random.random() < probability  # noqa: S311 - a sample, not a secret


def _make_origin(answer: PredictAnswer) -> Origin:
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
        answer.log_probability,
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
