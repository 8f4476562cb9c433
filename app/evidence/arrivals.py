"""What came into the log, counted as it comes: nobody reads millions of rows again to know how many they are."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import numpy as np
from pydantic_core import to_json

from app.core.processes import give_way
from app.evidence.copying import group_alike, times_in
from app.evidence.frames import LoggedRequest
from app.evidence.profiles import BUCKET

_BUCKET_MS = int(BUCKET.total_seconds() * 1000)
REQUESTS_PER_TURN = 1000
"""How many are counted before others have their turn."""


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Whose sums they are, apart from when."""

    version_id: UUID
    environment: str
    arm: str
    shadow: bool

    @classmethod
    def of(cls, row: Any) -> Self:
        """Whose a row is."""
        return cls(row.version_id, row.environment, row.arm or "", row.shadow)


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """One version's and arm's five minutes of a model."""

    model: str
    bucket: datetime
    group: Group
    version: int


@dataclass(slots=True)
class Arrived:
    """How many rows were answered, and how often with what: labels as JSON, as the log has them."""

    rows: int = 0
    answers: Counter[str] = field(default_factory=Counter)


def count_arrivals(requests: Sequence[LoggedRequest]) -> dict[Slice, Arrived]:
    """The answered rows of some requests by where they belong."""
    counted: dict[Slice, Arrived] = {}
    for block in group_alike(requests):
        for start in range(0, len(block), REQUESTS_PER_TURN):
            give_way()
            for place, answers in _by_bucket(block[start : start + REQUESTS_PER_TURN]):
                arrived = counted.setdefault(place, Arrived())
                arrived.rows += len(answers)
                arrived.answers.update(_labels(answers))
    return counted


def _by_bucket(block: Sequence[LoggedRequest]) -> Iterator[tuple[Slice, list[Any]]]:
    """The answers of requests of one origin, apart by the five minutes; rows that were not answered are none."""
    origin, answers = block[0].origin, [answer for request in block for answer in _answers(request)]
    numbers = times_in(b"".join([request.id_bytes for request in block])) // _BUCKET_MS
    for number in np.unique(numbers).tolist():
        bucket = datetime.fromtimestamp(number * _BUCKET_MS / 1000, UTC)
        here = [answers[i] for i in np.flatnonzero(numbers == number).tolist()]
        some = [answer for answer in here if answer is not None]
        if some:
            yield Slice(origin.model, bucket, Group.of(origin), origin.version), some


def _answers(request: LoggedRequest) -> Sequence[Any]:
    if not request.failures:
        return request.predictions
    return [None if i in request.failures else answer for i, answer in enumerate(request.predictions)]


def _labels(answers: Sequence[Any]) -> Counter[str]:
    """How often each label was answered; fractions are no labels, and hardly two of them are alike."""
    labels = Counter((type(each), each) for each in answers if _may_be_label(each))
    return Counter({to_json(label).decode(): count for (_, label), count in labels.items()})


def _may_be_label(answer: Any) -> bool:
    return answer.is_integer() if isinstance(answer, float) else isinstance(answer, int | str)
