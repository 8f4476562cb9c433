"""Reading the items of a feedback call: each by itself, so that a bad one costs no other."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from app.core.wire import said_of
from app.evidence.errors import TooManyOutcomes
from app.evidence.outcomes import Given, Refused, Submission
from app.evidence.rules import Target, problem_with_age, problem_with_time, read_actual, time_in
from app.evidence.schemas import MAX_ITEMS, FeedbackEnvelope, FeedbackItem

LONGEST_SHOWN_ID = 64


class EnvelopeInvalidError(ValueError):
    """A body holds no items: what is wrong with it, as pydantic tells it."""

    def __init__(self, faults: list[Any]) -> None:
        super().__init__(faults)
        self.faults = faults


@dataclass(frozen=True)
class ItemReader:
    """What the items of one call are held against."""

    target: Target
    now: datetime
    keep_days: int

    def read(self, index: int, item: Any) -> Given | Refused:
        """One item, whole, or what is wrong with it."""
        try:
            parsed = FeedbackItem.model_validate(item)
        except ValidationError as error:
            return Refused(index, _shown_id(item), _first_problem(error))
        actual, problem_with_actual = read_actual(parsed.actual, self.target)
        made_at = time_in(parsed.prediction_id)
        problem = (
            problem_with_age(made_at, self.now, self.keep_days)
            or problem_with_actual
            or problem_with_time(parsed.observed_at, self.now)
        )
        if problem or made_at is None:
            return Refused(index, str(parsed.prediction_id), problem)
        return Given(
            index, parsed.prediction_id, made_at, actual, parsed.observed_at or self.now, parsed.value
        )


def read_submission(body: bytes, reader: ItemReader) -> Submission:
    """The items of a body, sorted out.

    Raises:
        EnvelopeInvalidError: it is not JSON, or not an object of items.
        TooManyOutcomes: they are more than one call may bring.
    """
    submission = Submission()
    for index, item in enumerate(_read_envelope(body)):
        submission.add(reader.read(index, item))
    return submission


def _read_envelope(body: bytes) -> list[Any]:
    try:
        items = FeedbackEnvelope.model_validate_json(body).items
    except ValidationError as error:
        raise EnvelopeInvalidError(error.errors(include_url=False, include_input=False)) from None
    if len(items) > MAX_ITEMS:
        raise TooManyOutcomes(len(items), MAX_ITEMS)
    return items


def _shown_id(item: Any) -> str | None:
    shown = item.get("prediction_id") if isinstance(item, dict) else None
    return shown[:LONGEST_SHOWN_ID] if isinstance(shown, str) else None


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "item"
    return f"{where}: {said_of(first)}"
