"""Looks at signals: what is read of each model, and what is judged of it."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.judging import (
    Observation,
    catch_up_with_facts,
    is_idle,
    lock_standing,
    take_observation,
)
from app.alerts.leaving import find_departed
from app.alerts.queries import standings_of
from app.alerts.rules import MEANINGS, TOLD_BY_FACTS, Signal
from app.alerts.signals import Namer, Reader, named_as
from app.alerts.tables import AlertRule, StandingRow
from app.core.database import Reading
from app.core.facts import read_head


async def read_values(
    reading: Reading, readers: Mapping[Signal, Reader], rule: AlertRule, until: datetime
) -> Mapping[str, float]:
    """The values of a rule's signal by model; none of a signal that facts tell, or that nobody reads yet.

    What is no finite number is no evidence: it is left out, and the other models are judged all the same.
    """
    reader = readers.get(Signal(rule.signal))
    if reader is None:
        return {}
    values = await reader(reading, until - timedelta(seconds=rule.window_seconds), until)
    return {model: value for model, value in values.items() if math.isfinite(value)}


async def judge_values(
    session: AsyncSession, rule: AlertRule, seen: Mapping[str, float], at: datetime, namer: Namer | None
) -> None:
    """Judge each model's value; those that are well and always were cost nothing, and those that left say nothing."""
    standings = await standings_of(session, rule.name)
    mattering = [model for model, value in sorted(seen.items()) if _matters(rule, standings, model, value)]
    departed = await find_departed(session, mattering)
    for model in mattering:
        if model not in departed:
            row = await lock_standing(session, rule.name, f"model:{model}")
            evidence = await _evidence_of(session, rule, model, at, namer)
            observed = Observation(row.subject, model, seen[model], at, evidence)
            await take_observation(session, rule, row, observed)


def _matters(rule: AlertRule, standings: Mapping[str, StandingRow], model: str, value: float) -> bool:
    known = standings.get(f"model:{model}")
    is_unwell = known is not None and not is_idle(known.standing)
    return rule.terms.concerns(model) and (is_unwell or rule.terms.policy.is_breached_by(value))


async def _evidence_of(
    session: AsyncSession, rule: AlertRule, model: str, at: datetime, namer: Namer | None
) -> Mapping[str, Any]:
    signal, since = Signal(rule.signal), at - timedelta(seconds=rule.window_seconds)
    evidence: dict[str, Any] = {"value_is": MEANINGS[signal], "window_seconds": rule.window_seconds}
    if namer is not None and (named := await namer(session, model, since, at)):
        evidence[named_as(signal)] = [*named]
    return evidence


async def catch_up_unwell(session: AsyncSession, rule: AlertRule) -> None:
    """Judge the facts since the last, of subjects that are unwell: that is how they are seen to be well again."""
    told = TOLD_BY_FACTS.get(Signal(rule.signal))
    if told is None:
        return
    upto, _ = await read_head(session)
    for subject, known in sorted((await standings_of(session, rule.name)).items()):
        if not is_idle(known.standing):
            row = await lock_standing(session, rule.name, subject)
            await catch_up_with_facts(session, rule, row, told, upto)
