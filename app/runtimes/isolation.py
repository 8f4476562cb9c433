"""Scoring in which a bad row fails alone: a batch that the model refuses is taken apart down to the culprits."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.runtimes.rows import Rows, merge_rows
from app.runtimes.scores import Model, Scores

MAX_REASON = 200  # characters of a model's own message that an answer repeats
MODEL_ERRORS = (
    Exception,
    SystemExit,
)  # a model may raise anything, and `sys.exit()` must not end the service
OUT_OF_TIME = "the deadline passed before this row was scored"


@dataclass(slots=True)
class Scored:
    """The answers for the good rows of one request.

    Attributes:
        scores: one entry for each good row, in their order; meaningless where `failures` names the row.
        failures: for each good row that the model refused, by its place among them, the reason.
    """

    scores: Scores
    failures: Mapping[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows were scored."""
        return len(self.scores.prediction) - len(self.failures)

    def answers(self) -> list[Any]:
        """The predictions of the rows that have one."""
        predictions = self.scores.prediction
        if not self.failures:
            return predictions
        return [answer for i, answer in enumerate(predictions) if i not in self.failures]


class WrongNumberOfAnswers(Exception):  # noqa: N818 - it ends as the reason that a row carries
    """The model gave fewer or more answers than it was asked for."""


def score_merged(model: Model, batches: Sequence[Rows], together: Rows | None = None) -> list[Scored]:
    """Score several requests in one call; whatever the model raises passes through.

    `together` is what `merge_rows` would make of them, where that is known.
    """
    merged = together or merge_rows(batches)
    scores = model.score(merged)
    if len(scores.prediction) != len(merged.good):
        raise WrongNumberOfAnswers(f"{len(scores.prediction)} answers to {len(merged.good)} rows")
    if len(batches) == 1:
        return [Scored(scores)]
    return [Scored(part) for part in scores.split([len(rows.good) for rows in batches])]


def score_isolated(model: Model, batches: Sequence[Rows], *, until: float) -> list[Scored]:
    """Score several requests in one call, or each by itself when that call raises.

    Args:
        model: what scores.
        batches: the rows of each request.
        until: on the clock of `time.monotonic`, when to give up on rows that are still to be taken apart.
    """
    try:
        return score_merged(model, batches)
    except MODEL_ERRORS as error:
        if len(batches) > 1:
            return [score_isolated(model, [rows], until=until)[0] for rows in batches]
        return [_score_halves(model, batches[0], until, error)]


def _score_halves(model: Model, rows: Rows, until: float, error: BaseException) -> Scored:
    count = len(rows.good)
    if count == 1:
        return failed(1, _reason(error))
    if time.monotonic() > until:
        return failed(count, OUT_OF_TIME)
    middle = count // 2
    halves = (rows.slice(0, middle), rows.slice(middle, count))
    return join_scored([score_isolated(model, [half], until=until)[0] for half in halves])


def failed(count: int, reason: str) -> Scored:
    """So many rows, none of which has an answer, for one reason."""
    return Scored(Scores([None] * count), dict.fromkeys(range(count), reason))


def _reason(error: BaseException) -> str:
    message = str(error).strip().partition("\n")[0][:MAX_REASON]
    return ": ".join(filter(None, ("the model refused this row", type(error).__name__, message)))


def join_scored(parts: Sequence[Scored]) -> Scored:
    """The answers of consecutive parts of one request as one."""
    failures: dict[int, str] = {}
    start = 0
    for part in parts:
        failures.update({start + i: reason for i, reason in part.failures.items()})
        start += len(part.scores.prediction)
    return Scored(_join_scores([part.scores for part in parts]), failures)


def _join_scores(parts: Sequence[Scores]) -> Scores:
    prediction = [answer for part in parts for answer in part.prediction]
    known = next((part for part in parts if part.probabilities is not None), None)
    if known is None or known.probabilities is None:
        return Scores(prediction)
    blank = np.full((1, known.probabilities.shape[1]), np.nan)
    blocks = [
        blank.repeat(len(part.prediction), axis=0) if part.probabilities is None else part.probabilities
        for part in parts
    ]
    return Scores(prediction, np.concatenate(blocks), known.classes)
