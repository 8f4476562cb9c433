"""What people do with alerts: make and change rules, acknowledge, resolve, silence."""

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.deliveries import QUEUE, TELL
from app.alerts.errors import (
    AlertRuleExists,
    AlreadyAcknowledged,
    IncidentIsResolved,
    NoDefaultRule,
)
from app.alerts.facts import (
    AlertRuleChanged,
    AlertRuleDeleted,
    AlertRuleMade,
    IncidentAcknowledged,
    SilenceEnded,
    SilenceMade,
)
from app.alerts.judging import close_standing, end_if_open, end_incident
from app.alerts.queries import (
    get_incident,
    get_rule,
    get_silence,
    list_channel_names,
    list_open_incidents,
    lock_rule,
)
from app.alerts.rules import DEFAULTS, RuleTerms, why_never
from app.alerts.tables import AlertRule, Incident, Silence
from app.core import clock
from app.core.access import Caller
from app.core.database import Actor
from app.core.errors import FieldProblem
from app.core.facts import announce
from app.core.jobs import enqueue


async def make_rule(session: AsyncSession, name: str, terms: RuleTerms) -> AlertRule:
    """Have a rule hold from now on.

    Raises:
        AlertRuleExists: one of this name does.
        FieldProblem: it names a channel that does not exist, or a threshold that its signal never crosses.
    """
    _require_crossable(terms)
    await _require_channels(session, terms)
    columns = {"name": name, **_columns_of(terms), **_signed(session)}
    row: AlertRule | None = await session.scalar(
        insert(AlertRule).values(columns).on_conflict_do_nothing().returning(AlertRule)
    )
    if row is None:
        raise AlertRuleExists(name)
    announce(session, AlertRuleMade(name, asdict(terms)))
    return row


async def change_rule(session: AsyncSession, name: str, terms: RuleTerms) -> AlertRule:
    """Give a rule other terms. Its incidents end when it looks at something else, or no more.

    Raises:
        AlertRuleNotFound: there is none of this name.
        FieldProblem: it names a channel that does not exist, or a threshold that its signal never crosses.
    """
    await _require_channels(session, terms)
    rule = await lock_rule(session, name)
    before = rule.terms
    if _crossing(terms) != _crossing(before):
        _require_crossable(terms)
    if before == terms:
        return rule
    if not terms.enabled or (terms.signal, terms.model) != (before.signal, before.model):
        await _end_incidents(
            session, rule, "the rule was changed" if terms.enabled else "the rule was disabled"
        )
    for column, value in (_columns_of(terms) | _signed(session)).items():
        setattr(rule, column, value)
    rule.looked_at = None
    announce(session, AlertRuleChanged(name, asdict(terms), asdict(before)))
    return rule


async def delete_rule(session: AsyncSession, name: str) -> None:
    """Have a rule hold no more; its open incidents end.

    Raises:
        AlertRuleNotFound: there is none of this name.
    """
    rule = await lock_rule(session, name)
    await _end_incidents(session, rule, "the rule was deleted")
    announce(session, AlertRuleDeleted(name, asdict(rule.terms)))
    await session.delete(rule)


async def reset_rule(session: AsyncSession, name: str) -> AlertRule:
    """Give a rule that was there from the start its first terms again, or make it again when it was deleted.

    Raises:
        NoDefaultRule: it is not one of them.
    """
    terms = DEFAULTS.get(name)
    if terms is None:
        raise NoDefaultRule(name, list(DEFAULTS))
    exists = await session.get(AlertRule, name) is not None
    return await (change_rule if exists else make_rule)(session, name, terms)


def _crossing(terms: RuleTerms) -> tuple[Any, ...]:
    return terms.signal, terms.comparison, terms.threshold


def _require_crossable(terms: RuleTerms) -> None:
    wrong = why_never(terms)
    if wrong:
        raise FieldProblem(*wrong)


async def _require_channels(session: AsyncSession, terms: RuleTerms) -> None:
    unknown = set(terms.channels or ()) - set(await list_channel_names(session))
    if unknown:
        raise FieldProblem("channels", f"there is no channel {', '.join(map(repr, sorted(unknown)))}")


async def _end_incidents(session: AsyncSession, rule: AlertRule, note: str) -> None:
    for found in await list_open_incidents(session, rule.name):
        await end_if_open(session, found, rule, by=_actor_of(session).name, note=note)


def _columns_of(terms: RuleTerms) -> dict[str, Any]:
    return asdict(terms) | {"channels": None if terms.channels is None else list(terms.channels)}


def _signed(session: AsyncSession) -> dict[str, Any]:
    return {"changed_at": clock.now(), "changed_by": _actor_of(session).name}


def _actor_of(session: AsyncSession) -> Actor:
    actor: Actor = session.info["actor"]
    return actor


async def acknowledge_incident(
    session: AsyncSession, incident_id: UUID, caller: Caller, note: str
) -> Incident:
    """Say that somebody sees to an incident.

    Raises:
        IncidentNotFound: there is none, or none for this caller.
        IncidentIsResolved, AlreadyAcknowledged.
    """
    incident = await _lock_open(session, await get_incident(session, incident_id, caller))
    if incident.acknowledged_by is not None:
        raise AlreadyAcknowledged(str(incident.id), incident.acknowledged_by)
    incident.acknowledged_at, incident.acknowledged_by = clock.now(), caller.name
    incident.acknowledge_note = note
    announce(
        session,
        IncidentAcknowledged(str(incident.id), incident.rule, incident.subject, incident.severity, note=note),
    )
    return incident


async def resolve_incident(session: AsyncSession, incident_id: UUID, caller: Caller, note: str) -> Incident:
    """Say that an incident is over; the rule's cool-down begins.

    Raises:
        IncidentNotFound: there is none, or none for this caller.
        IncidentIsResolved: it was over already.
    """
    found = await get_incident(session, incident_id, caller)
    rule = await lock_rule(session, found.rule, shared=True) if found.resolved_at is None else None
    await close_standing(session, found) if rule else None
    incident = await _lock_open(session, found)
    await end_incident(session, incident, rule, at=clock.now(), by=caller.name, note=note)
    return incident


async def _lock_open(session: AsyncSession, found: Incident) -> Incident:
    await session.refresh(found, with_for_update=True)
    if found.resolved_at is not None:
        raise IncidentIsResolved(str(found.id), found.resolved_by)
    return found


async def make_silence(
    session: AsyncSession, *, rule: str | None, model: str | None, until: datetime, reason: str
) -> Silence:
    """Tell nothing of a rule, of a model, or of a rule about a model, until then.

    Raises:
        FieldProblem: it names neither, or a time that is over.
        AlertRuleNotFound: it names a rule that does not exist.
    """
    if rule is None and model is None:
        raise FieldProblem("rule", "name a rule, a model, or both")
    if until <= clock.now():
        raise FieldProblem("until", "is over already")
    if rule is not None:
        await get_rule(session, rule)
    silence = Silence(
        rule=rule,
        model=model,
        until=until,
        reason=reason,
        made_at=clock.now(),
        made_by=_actor_of(session).name,
    )
    session.add(silence)
    await session.flush()
    announce(session, SilenceMade(*_told_of(silence)))
    return silence


async def end_silence(session: AsyncSession, silence_id: UUID, caller: Caller) -> None:
    """Have what a silence held back be told now.

    Raises:
        SilenceNotFound: there is none that holds, or none that this caller may end.
    """
    silence = await get_silence(session, silence_id, caller)
    silence.until = clock.now()
    await enqueue(session, TELL, {}, queue=QUEUE)
    announce(session, SilenceEnded(*_told_of(silence)))


def _told_of(silence: Silence) -> tuple[str, str | None, str | None, str, str]:
    return str(silence.id), silence.rule, silence.model, silence.until.isoformat(), silence.reason


async def forget_look(session: AsyncSession, rule: str) -> None:
    """Have a rule be due a look now."""
    await session.execute(update(AlertRule).where(AlertRule.name == rule).values(looked_at=None))


async def note_look(session: AsyncSession, rule: str) -> None:
    """Remember that a rule's signal was looked at now."""
    await session.execute(update(AlertRule).where(AlertRule.name == rule).values(looked_at=clock.now()))
