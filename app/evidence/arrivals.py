"""What came into the log, counted as it comes: nobody reads millions of rows again to know how many they are."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from pydantic_core import to_json

from app.core.processes import give_way
from app.evidence.copying import times_in
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


def count_arrivals(requests: Iterable[LoggedRequest]) -> dict[Slice, Arrived]:
    """The answered rows of some requests by where they belong."""
    counted: dict[Slice, Arrived] = {}
    for number, request in enumerate(requests):
        if number % REQUESTS_PER_TURN == 0:
            give_way()
        for bucket, answers in _by_bucket(request):
            origin = request.origin
            place = Slice(origin.model, bucket, Group.of(origin), origin.version)
            arrived = counted.setdefault(place, Arrived())
            arrived.rows += len(answers)
            arrived.answers.update(_labels(answers))
    return counted


def _by_bucket(request: LoggedRequest) -> Iterator[tuple[datetime, list[Any]]]:
    """The answers of a request, apart by the five minutes; rows that were not answered are none."""
    numbers = (times_in(request.id_bytes) // _BUCKET_MS).tolist()
    for number in {*numbers}:
        answers = [
            answer
            for i, answer in enumerate(request.predictions)
            if numbers[i] == number and i not in request.failures and answer is not None
        ]
        if answers:
            yield datetime.fromtimestamp(number * _BUCKET_MS / 1000, UTC), answers


def _labels(answers: Sequence[Any]) -> Counter[str]:
    """How often each label was answered; fractions are no labels, and hardly two of them are alike."""
    labels = Counter((type(each), each) for each in answers if _may_be_label(each))
    return Counter({to_json(label).decode(): count for (_, label), count in labels.items()})


def _may_be_label(answer: Any) -> bool:
    return answer.is_integer() if isinstance(answer, float) else isinstance(answer, int | str)
