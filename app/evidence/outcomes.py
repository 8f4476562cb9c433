"""Outcomes on their way from a feedback call into the database."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Given:
    """One item that may be stored; `at` is when its prediction was made."""

    index: int
    prediction_id: UUID
    at: datetime
    actual: Any
    observed_at: datetime
    value: float | None

    def says_the_same_as(self, other: "Given") -> bool:
        """Whether storing one after the other changes nothing."""
        return (type(self.actual), self.actual, self.value) == (type(other.actual), other.actual, other.value)


@dataclass(frozen=True, slots=True)
class Refused:
    """One item that may not."""

    index: int
    prediction_id: str | None
    problem: str


@dataclass
class Submission:
    """The items of one call, sorted out.

    Attributes:
        given: the last word on each prediction.
        overruled: how many items a later one of the same call replaces by something else.
        repeated: how many a later one repeats.
    """

    given: dict[UUID, Given] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    overruled: int = 0
    repeated: int = 0

    def add(self, item: Given | Refused) -> None:
        """Take in the next item."""
        if isinstance(item, Refused):
            self.refused.append(item)
            return
        earlier = self.given.pop(item.prediction_id, None)
        if earlier is not None:
            self.repeated += item.says_the_same_as(earlier)
            self.overruled += not item.says_the_same_as(earlier)
        self.given[item.prediction_id] = item


@dataclass
class Tally:
    """What became of the items of a feedback call."""

    accepted: int = 0
    corrected: int = 0
    unchanged: int = 0
    pending: int = 0
    refused: list[Refused] = field(default_factory=list)
