"""The filters of a list as they come in an address."""

import math
from typing import Annotated

from fastapi import Depends, Query

from app.core.errors import FieldProblem
from app.registry.rules import STATUS, Stage
from app.registry.search import Filters


async def _filters(
    search: Annotated[str | None, Query(max_length=128, description="Part of a model's name.")] = None,
    stage: Stage | None = None,
    status: Annotated[
        str | None, Query(description="As `stage`, in other words: `active` is production.")
    ] = None,
    tag: Annotated[list[str], Query(description="`key` or `key=value`; may be repeated.")] = [],  # noqa: B006
    framework: str | None = None,
    creator: str | None = None,
    metric: Annotated[list[str], Query(description="`name>=0.9` or `name<=0.1`; may be repeated.")] = [],  # noqa: B006
) -> Filters:
    return Filters(
        search=search,
        stage=stage or _stage_of(status),
        tags=tuple(_tag(text) for text in tag),
        framework=framework,
        creator=creator,
        metrics=tuple(_metric_bound(text) for text in metric),
    )


Filtered = Annotated[Filters, Depends(_filters)]


def _stage_of(status: str | None) -> Stage | None:
    if status is None:
        return None
    stages = {word: stage for stage, word in STATUS.items()}
    if status not in stages:
        raise FieldProblem("status", f"{status!r} is none of {', '.join(stages)}")
    return stages[status]


def _tag(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    return key, value if equals else None


def _metric_bound(text: str) -> tuple[str, str, float]:
    for sign, comparison in ((">=", "min"), ("<=", "max")):
        name, found, bound = text.partition(sign)
        if found:
            return name, comparison, _finite(bound)
    raise FieldProblem("metric", f"{text!r} must look like accuracy>=0.9 or log_loss<=0.2")


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise FieldProblem("metric", f"{text!r} is no number") from None
    if not math.isfinite(number):
        raise FieldProblem("metric", f"{text!r} is no finite number")
    return number
