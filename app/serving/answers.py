"""What was asked, what was answered, and everything about it that the log wants to know."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any
from uuid import UUID

from app.core.access import Caller
from app.runtimes.cache import ReadyVersion
from app.runtimes.cells import ColumnError
from app.runtimes.isolation import Scored
from app.runtimes.rows import Rows
from app.serving.dialects import NATIVE, Dialect, Envelope
from app.serving.errors import NothingScored
from app.serving.lines import Line, LogMode
from app.traffic.live import Choice

TOLD_ERRORS = 20


@dataclass(slots=True)
class PredictRequest:
    """One request, whichever door it came through; options in the body win over those given here.

    `encode`, where the door has one, makes the bytes of a small answer, together with those of others.
    """

    reference: str
    body: bytes
    caller: Caller
    dialect: Dialect = NATIVE
    request_id: str = ""
    entity_id: str | None = None
    encode: "Callable[[PredictAnswer], bytes] | None" = None


@dataclass(slots=True)
class Part:
    """A run of rows that are scored, encoded and logged in one go; positions count from its own beginning.

    Attributes:
        rows: the rows, good and bad.
        scored: the answers for the good ones.
        ids: a prediction id for each row, bad ones included, from when the answer is recorded.
    """

    rows: Rows
    scored: Scored
    ids: Sequence[UUID] = ()

    @property
    def good_ids(self) -> Sequence[UUID]:
        """The ids of the good rows."""
        return [self.ids[i] for i in self.rows.good] if self.rows.errors else self.ids

    @property
    def is_flawless(self) -> bool:
        """Whether every row has an answer."""
        return not self.rows.errors and not self.scored.failures

    def errors(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows without an answer by position, those that don't fit the signature first, and what is wrong."""
        for position, columns in self.rows.errors.items():
            yield position, _misfit(columns)
        for i, reason in self.scored.failures.items():
            yield self.rows.good[i], {"message": reason}


def _misfit(columns: Sequence[ColumnError]) -> dict[str, Any]:
    message = "; ".join(f"{error.column or 'the row'} {error.problem}" for error in columns)
    return {"message": message, "columns": [error.to_json() for error in columns]}


@dataclass(slots=True)
class PredictAnswer:
    """The outcome of one request for one version.

    Attributes:
        version: the version that answers.
        line: what the reference led to.
        choice: what the line's route chose.
        envelope: what the request said beside its rows, as its dialect reads it.
        caller: the name of the key that asked.
        request_id: as the caller or the service named the request.
        entity_id: the sticky key.
        began: when the request arrived, on the clock of `time.monotonic`.
        parts: the rows with their answers, in order.
        warnings: what the caller should know though nothing failed.
        latency_ms: from the request's arrival to the last score.
        is_shadow: whether nobody is told this answer.
        encoded: its bytes, where it was small and its door could encode it together with others.
    """

    version: ReadyVersion
    line: Line
    choice: Choice
    envelope: Envelope
    caller: str
    request_id: str
    entity_id: str | None
    began: float
    parts: list[Part] = field(default_factory=list)
    warnings: Sequence[str] = ()
    latency_ms: float = 0.0
    is_shadow: bool = False
    encoded: bytes | None = None

    @property
    def revision(self) -> int | None:
        """The route's revision; None where the caller named the version."""
        return self.line.route.revision

    @property
    def log_probability(self) -> float:
        """The probability with which this answer is recorded."""
        return self.line.log_probability if self.line.log_mode is LogMode.SAMPLED else 1.0

    @property
    def rows(self) -> int:
        """How many rows came."""
        return sum([part.rows.count for part in self.parts])

    @property
    def is_empty(self) -> bool:
        """Whether no row has an answer."""
        return not any(part.scored.count for part in self.parts)

    def finish(self, parts: list[Part], warnings: Sequence[str] = ()) -> None:
        """Take the scored rows; the clock stops."""
        self.parts, self.warnings = parts, warnings
        self.latency_ms = (time.monotonic() - self.began) * 1000

    def require_answers(self) -> None:
        """Refuse an answer without any; it is recorded by then, for the model's failures to be seen.

        Raises:
            NothingScored: no row has an answer.
        """
        if self.is_empty:
            raise NothingScored(self.rows, _first_errors(self.parts[0]))


def _first_errors(part: Part) -> list[dict[str, Any]]:
    errors = sorted(islice(part.errors(), TOLD_ERRORS), key=itemgetter(0))
    return [{"row": position, **error} for position, error in errors]
