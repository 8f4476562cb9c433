"""From a value of a signal to an incident: judged under the lock of its standing, told in the same transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.deliveries import tell_end, tell_opening
from app.alerts.facts import IncidentOpened, IncidentResolved
from app.alerts.queries import find_open_incident
from app.alerts.rules import Standing, Step, Told, close, fingerprint, judge, subject_of
from app.alerts.tables import AlertRule, Incident, StandingRow
from app.core import clock
from app.core.facts import FactRow, announce, select_facts
from app.core.ids import new_id

MOST_FACTS = 1000
"""Judged at once; what is beyond them waits for the next look."""


@dataclass(frozen=True)
class Observation:
    """A value of a signal of one subject."""

    subject: str
    model: str | None
    value: float
    at: datetime
    evidence: Mapping[str, Any] = field(default_factory=dict)


async def lock_standing(session: AsyncSession, rule: str, subject: str, judged: int = 0) -> StandingRow:
    """How a subject stands, for nobody else to change until this transaction ends; well, when nothing is known.

    `judged` is the fact up to which a standing that is made now has nothing to judge.
    """
    fresh = {"rule": rule, "subject": subject, "judged": judged}
    await session.execute(insert(StandingRow).values(fresh).on_conflict_do_nothing())
    mine = select(StandingRow).where(StandingRow.rule == rule, StandingRow.subject == subject)
    found: StandingRow = (
        await session.scalars(mine.with_for_update().execution_options(populate_existing=True))
    ).one()
    return found


async def take_observation(
    session: AsyncSession, rule: AlertRule, row: StandingRow, seen: Observation
) -> Step:
    """Judge one observation, and do what follows from it.

    Raises:
        ValueError: the value is not a number.
    """
    standing, step = judge(row.standing, rule.terms.policy, seen.value, seen.at)
    row.take(standing)
    if step is Step.OPEN:
        await _open_incident(session, rule, seen)
    elif step is Step.UPDATE:
        await _update_incident(session, rule, seen)
    elif step is Step.RESOLVE:
        await _resolve_by_itself(session, rule, seen)
    return step


async def _open_incident(session: AsyncSession, rule: AlertRule, seen: Observation) -> None:
    incident = Incident(
        id=new_id(),
        fingerprint=fingerprint(rule.name, seen.subject),
        rule=rule.name,
        signal=rule.signal,
        severity=rule.severity,
        subject=seen.subject,
        model=seen.model,
        comparison=rule.comparison,
        threshold=rule.threshold,
        value=seen.value,
        worst=seen.value,
        evidence=dict(seen.evidence),
        looks=1,
        opened_at=seen.at,
        updated_at=seen.at,
    )
    session.add(incident)
    await session.flush()
    announce(
        session,
        IncidentOpened(
            str(incident.id),
            rule.name,
            seen.subject,
            rule.severity,
            value=seen.value,
            threshold=rule.threshold,
        ),
    )
    await tell_opening(session, incident, rule)


async def _update_incident(session: AsyncSession, rule: AlertRule, seen: Observation) -> None:
    incident = await find_open_incident(session, fingerprint(rule.name, seen.subject))
    assert incident is not None, "an open standing has an open incident"
    incident.value, incident.updated_at = seen.value, seen.at
    incident.worst = rule.terms.policy.worse_of(incident.worst, seen.value)
    incident.evidence = dict(seen.evidence)
    incident.looks += 1
    await tell_opening(session, incident, rule)


async def _resolve_by_itself(session: AsyncSession, rule: AlertRule, seen: Observation) -> None:
    incident = await find_open_incident(session, fingerprint(rule.name, seen.subject))
    assert incident is not None, "an open standing has an open incident"
    incident.value = seen.value
    await end_incident(session, incident, rule, at=seen.at)


async def end_incident(
    session: AsyncSession,
    incident: Incident,
    rule: AlertRule | None,
    *,
    at: datetime,
    by: str | None = None,
    note: str = "",
) -> None:
    """Write an incident's end, announce it and tell it; whoever calls holds the standing."""
    incident.resolved_at, incident.resolved_by, incident.resolve_note = at, by, note
    incident.updated_at = at
    ended = IncidentResolved(
        str(incident.id), incident.rule, incident.subject, incident.severity, by_itself=by is None, note=note
    )
    announce(session, ended)
    await tell_end(session, incident, rule)


async def end_if_open(
    session: AsyncSession, found: Incident, rule: AlertRule, *, by: str | None = None, note: str
) -> None:
    """End an incident for another reason than its signal, unless it has ended meanwhile; the cool-down begins now."""
    await close_standing(session, found)
    incident = await find_open_incident(session, found.fingerprint)
    if incident is not None:
        await end_incident(session, incident, rule, at=clock.now(), by=by, note=note)


async def close_standing(session: AsyncSession, incident: Incident) -> None:
    """Take the standing of an incident that somebody resolves; the cool-down begins now."""
    row = await lock_standing(session, incident.rule, incident.subject)
    row.take(close(clock.now()))


async def catch_up_with_facts(
    session: AsyncSession, rule: AlertRule, row: StandingRow, told: Told, upto: int
) -> None:
    """Judge the facts of a subject that were not judged yet, in the order in which they happened, each once."""
    facts = (await session.scalars(_unjudged(rule, row, told, upto))).all()
    for fact in facts:
        subject, model = subject_of(fact.subject, fact.body)
        if subject == row.subject:
            value = float(fact.kind in told.failures)
            evidence = {"fact": fact.kind, "sequence": fact.sequence, **fact.body}
            await take_observation(session, rule, row, Observation(subject, model, value, fact.at, evidence))
    reached = facts[-1].sequence if len(facts) == MOST_FACTS else upto
    row.judged = max(row.judged, reached or upto)


def _unjudged(rule: AlertRule, row: StandingRow, told: Told, upto: int) -> Select[FactRow]:
    """What the rule's window still holds of the facts after the last that was judged."""
    newest = select_facts(since=clock.now() - timedelta(seconds=rule.window_seconds)).order_by(None)
    fitting = newest.where(FactRow.kind.in_(told.kinds), FactRow.sequence.between(row.judged + 1, upto))
    return fitting.order_by(FactRow.sequence).limit(MOST_FACTS)


def is_idle(standing: Standing) -> bool:
    """Whether a value that is well changes nothing about a standing."""
    return not standing.is_open and standing.breaches == 0
