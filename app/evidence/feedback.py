"""Reading the items of a feedback call: each by itself, so that a bad one costs no other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from app.evidence.outcomes import Given, Refused, Submission
from app.evidence.rules import Target, problem_with_age, problem_with_time, read_actual, time_in
from app.evidence.schemas import FeedbackItem

ITEMS_PER_TURN = 1000
LONGEST_SHOWN_ID = 64


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


async def read_items(items: Sequence[Any], reader: ItemReader) -> Submission:
    """Read all items, letting others have their turn between them."""
    submission = Submission()
    for index, item in enumerate(items):
        submission.add(reader.read(index, item))
        if index % ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)
    return submission


def _shown_id(item: Any) -> str | None:
    shown = item.get("prediction_id") if isinstance(item, dict) else None
    return shown[:LONGEST_SHOWN_ID] if isinstance(shown, str) else None


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "item"
    return f"{where}: {first['msg']}"
