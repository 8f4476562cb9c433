"""Outcomes on their way from a feedback call into the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from pydantic_core import to_json

OUTCOMES_PER_PORTION = 5_000


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

    def as_json(self) -> bytes:
        """As the answer tells it."""
        return to_json(self)


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

    def sort_out(self) -> "Sorted":
        """The same, ready for the database: in the order of ids, so that no two calls deadlock."""
        given = sorted(self.given.values(), key=lambda item: item.prediction_id.int)
        starts = range(0, len(given), OUTCOMES_PER_PORTION)
        return Sorted(
            [Portion.of(given[start : start + OUTCOMES_PER_PORTION]) for start in starts],
            {item.at.date() for item in given},
            {item.index: item.as_json() for item in self.refused},
            self.overruled,
            self.repeated,
        )


@dataclass(frozen=True, slots=True)
class Portion:
    """As many items as one statement takes, as JSON: it costs the event loop nothing, however many they are.

    Attributes:
        first, last: the times of the first and the last prediction.
    """

    items: str
    first: datetime
    last: datetime

    @classmethod
    def of(cls, given: Sequence[Given]) -> Self:
        """Some items in the order of their ids, which is the order of their times."""
        return cls(to_json(given).decode(), given[0].at, given[-1].at)


@dataclass(frozen=True, slots=True)
class Sorted:
    """What a feedback call brings, as `Submission.sort_out` leaves it.

    Attributes:
        days: those of the predictions.
        refused: each such item by its place, as the answer tells it, so that the event loop has nothing to make of it.
    """

    portions: list[Portion]
    days: set[date]
    refused: dict[int, bytes]
    overruled: int
    repeated: int


@dataclass
class Tally:
    """What became of the items of a feedback call; the refused ones by their places, as the answer tells them."""

    accepted: int = 0
    corrected: int = 0
    unchanged: int = 0
    pending: int = 0
    refused: dict[int, bytes] = field(default_factory=dict)

    def refuse(self, item: Refused) -> None:
        """Count an item among those that are not taken."""
        self.refused[item.index] = item.as_json()

    def as_json(self) -> bytes:
        """The whole answer, its refused items in the order of the call."""
        counts = to_json({name: value for name, value in vars(self).items() if name != "refused"})
        refused = b",".join(self.refused[place] for place in sorted(self.refused))
        return b'%s,"refused":[%s]}' % (counts.removesuffix(b"}"), refused)
