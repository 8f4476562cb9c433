"""What came into the log, counted as it comes: nobody reads millions of rows again to know how many they are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic_core import to_json

from app.evidence.frames import LoggedRequest
from app.evidence.profiles import by_bucket, in_turns


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

    def add(self, answers: Sequence[Any]) -> None:
        """Count the answers to further rows."""
        self.rows += len(answers)
        self.answers.update(_labels(answers))


def count_arrivals(requests: Sequence[LoggedRequest]) -> dict[Slice, Arrived]:
    """The answered rows of some requests by where they belong."""
    counted: dict[Slice, Arrived] = {}
    for block in in_turns(requests):
        origin, answers = block[0].origin, [answer for request in block for answer in _answers(request)]
        for bucket, places in by_bucket(block):
            some = [answers[i] for i in places.tolist() if answers[i] is not None]
            if some:
                place = Slice(origin.model, bucket, Group.of(origin), origin.version)
                counted.setdefault(place, Arrived()).add(some)
    return counted


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
