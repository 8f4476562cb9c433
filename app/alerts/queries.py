"""What alerts can be asked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.alerts.errors import (
    AlertRuleNotFound,
    ChannelNotFound,
    DeliveryNotFound,
    IncidentNotFound,
    SilenceNotFound,
)
from app.alerts.kinds import DeliveryState
from app.alerts.rules import Severity, Signal, look_seconds
from app.alerts.tables import AlertRule, Channel, Delivery, Incident, Silence, StandingRow
from app.artifacts.encryption import HEADER_BYTES
from app.core import clock
from app.core.access import Caller
from app.core.keys import EVERY_MODEL
from app.core.paging import matches_any

_Named = str | InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


def _visible(column: object, caller: Caller) -> ColumnElement[bool]:
    """What is of no one model is for those who may see every model."""
    return true() if set(EVERY_MODEL) <= set(caller.models) else matches_any(column, caller.models)


async def sealed_channels(session: AsyncSession) -> dict[str, bytes]:
    """What each channel's sealed particulars begin with, by its name: that tells the key that they need."""
    query = select(Channel.name, func.substr(Channel.sealed, 1, HEADER_BYTES).label("start")).order_by(
        Channel.name
    )
    found = await session.execute(query)
    return {row.name: row.start for row in found}


async def get_rule(session: AsyncSession, name: str, caller: Caller | None = None) -> AlertRule:
    """The rule of this name, if the caller may see it.

    Raises:
        AlertRuleNotFound: there is none, or it is about a model that this caller may not see.
    """
    rule = await session.get(AlertRule, name)
    if rule is None or (caller and rule.model is not None and not caller.sees(rule.model)):
        raise AlertRuleNotFound(name)
    return rule


async def lock_rule(session: AsyncSession, name: str, *, shared: bool = False) -> AlertRule:
    """A rule that nobody else changes until this transaction ends; those who share it may judge by it meanwhile.

    Raises:
        AlertRuleNotFound: there is none.
    """
    rule: AlertRule | None = await session.scalar(
        select(AlertRule).where(AlertRule.name == name).with_for_update(read=shared)
    )
    if rule is None:
        raise AlertRuleNotFound(name)
    return rule


def select_rules(caller: Caller, after: str | None, limit: int) -> Select[AlertRule]:
    """Rules by name: those for every model, and those about models that a caller may see."""
    query = select(AlertRule).order_by(AlertRule.name).limit(limit + 1)
    query = query.where(or_(AlertRule.model.is_(None), _visible(AlertRule.model, caller)))
    return query.where(AlertRule.name > after) if after else query


async def list_due_rules(session: AsyncSession) -> list[AlertRule]:
    """The rules whose signal should be looked at now."""
    rules = (await session.scalars(select(AlertRule).where(AlertRule.enabled))).all()
    return [rule for rule in rules if _is_due(rule, clock.now())]


def _is_due(rule: AlertRule, now: datetime) -> bool:
    if rule.looked_at is None:
        return True
    since = now - rule.looked_at
    return not timedelta() <= since < timedelta(seconds=look_seconds(rule.window_seconds))


async def list_rules_over(session: AsyncSession, signals: Sequence[Signal]) -> list[AlertRule]:
    """The rules in force over some signals."""
    query = select(AlertRule).where(AlertRule.enabled, AlertRule.signal.in_(signals))
    return list((await session.scalars(query.order_by(AlertRule.name))).all())


async def standings_of(session: AsyncSession, rule: str) -> dict[str, StandingRow]:
    """How every subject that was ever unwell stands under a rule."""
    rows = await session.scalars(select(StandingRow).where(StandingRow.rule == rule))
    return {row.subject: row for row in rows}


async def find_standing(session: AsyncSession, rule: str, subject: str) -> StandingRow | None:
    """How a subject stands under a rule; None when it never was unwell."""
    return await session.get(StandingRow, (rule, subject))


async def get_incident(session: AsyncSession, incident_id: UUID, caller: Caller) -> Incident:
    """The incident with this id, if the caller may see what it is about.

    Raises:
        IncidentNotFound: there is none, or none for this caller.
    """
    query = select(Incident).where(Incident.id == incident_id, _visible(Incident.model, caller))
    incident: Incident | None = await session.scalar(query)
    if incident is None:
        raise IncidentNotFound(str(incident_id))
    return incident


async def find_open_incident(session: AsyncSession, fingerprint: str) -> Incident | None:
    """The open incident of a fingerprint, locked until this transaction ends."""
    query = select(Incident).where(Incident.fingerprint == fingerprint, Incident.resolved_at.is_(None))
    found: Incident | None = await session.scalar(
        query.with_for_update().execution_options(populate_existing=True)
    )
    return found


async def list_open_incidents(session: AsyncSession, rule: str) -> Sequence[Incident]:
    """The open incidents of a rule."""
    query = select(Incident).where(Incident.rule == rule, Incident.resolved_at.is_(None))
    return (await session.scalars(query.order_by(Incident.id))).all()


async def list_rules_unwell_about(session: AsyncSession, model: str) -> Sequence[str]:
    """The rules under which an incident of a model is open."""
    query = select(Incident.rule).where(Incident.model == model, Incident.resolved_at.is_(None))
    return (await session.scalars(query.distinct().order_by(Incident.rule))).all()


def select_incidents(
    caller: Caller,
    *,
    is_open: bool | None,
    severity: Severity | None,
    rule: str | None,
    model: str | None,
    after: str | None,
    limit: int,
) -> Select[Incident]:
    """The incidents that a caller may see and that match every filter given, newest first."""
    query = select(Incident).where(_visible(Incident.model, caller))
    if is_open is not None:
        query = query.where(Incident.resolved_at.is_(None) if is_open else Incident.resolved_at.is_not(None))
    for column, wanted in ((Incident.severity, severity), (Incident.rule, rule), (Incident.model, model)):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        query = query.where(Incident.id < UUID(after))
    return query.order_by(Incident.id.desc()).limit(limit + 1)


async def list_held_back(session: AsyncSession) -> Sequence[Incident]:
    """The open incidents that nobody was told of, though no silence holds them back any more."""
    silence = select(Silence.id).where(Silence.until > clock.now(), _silences(Incident.rule, Incident.model))
    query = select(Incident).where(Incident.resolved_at.is_(None), Incident.told_at.is_(None))
    return (await session.scalars(query.where(~silence.exists()).order_by(Incident.id))).all()


def _silences(rule: _Named, model: _Named | None) -> ColumnElement[bool]:
    concerns_model = or_(Silence.model.is_(None), Silence.model == model)
    return or_(Silence.rule.is_(None), Silence.rule == rule) & concerns_model


async def is_silenced(session: AsyncSession, rule: str, model: str | None) -> bool:
    """Whether incidents of a rule about a model are not to be told now."""
    query = select(Silence.id).where(Silence.until > clock.now(), _silences(rule, model))
    return await session.scalar(query.limit(1)) is not None


async def get_silence(session: AsyncSession, silence_id: UUID, caller: Caller) -> Silence:
    """A silence that still holds, if the caller may end it; nobody else ends it before this transaction does.

    Raises:
        SilenceNotFound: there is none.
    """
    query = select(Silence).where(Silence.id == silence_id, Silence.until > clock.now())
    found: Silence | None = await session.scalar(
        query.where(_visible(Silence.model, caller)).with_for_update()
    )
    if found is None:
        raise SilenceNotFound(str(silence_id))
    return found


def select_silences(caller: Caller, *, in_force: bool, after: str | None, limit: int) -> Select[Silence]:
    """The silences that a caller may see, newest first; those in force, or all."""
    query = select(Silence).where(or_(Silence.model.is_(None), _visible(Silence.model, caller)))
    if in_force:
        query = query.where(Silence.until > clock.now())
    if after is not None:
        query = query.where(Silence.id < UUID(after))
    return query.order_by(Silence.id.desc()).limit(limit + 1)


async def get_channel(session: AsyncSession, name: str) -> Channel:
    """The channel of this name.

    Raises:
        ChannelNotFound: there is none.
    """
    channel = await session.get(Channel, name)
    if channel is None:
        raise ChannelNotFound(name)
    return channel


async def lock_channel(session: AsyncSession, name: str) -> Channel:
    """The channel of this name, for this transaction alone to change.

    Raises:
        ChannelNotFound: there is none.
    """
    channel = await session.get(Channel, name, with_for_update=True)
    if channel is None:
        raise ChannelNotFound(name)
    return channel


async def list_channel_names(session: AsyncSession) -> Sequence[str]:
    """Every channel's name."""
    return (await session.scalars(select(Channel.name).order_by(Channel.name))).all()


def select_channels(after: str | None, limit: int) -> Select[Channel]:
    """Channels by name."""
    query = select(Channel).order_by(Channel.name).limit(limit + 1)
    return query.where(Channel.name > after) if after else query


async def list_rules_naming(session: AsyncSession, channel: str) -> Sequence[str]:
    """The rules that tell this channel by name."""
    query = select(AlertRule.name).where(AlertRule.channels.contains([channel]))
    return (await session.scalars(query.order_by(AlertRule.name))).all()


async def get_delivery(session: AsyncSession, delivery_id: UUID, caller: Caller | None = None) -> Delivery:
    """The delivery with this id, if the caller may see what it tells.

    Raises:
        DeliveryNotFound: there is none, or none for this caller.
    """
    query = select(Delivery).where(Delivery.id == delivery_id)
    if caller is not None:
        query = query.where(_visible(Delivery.model, caller))
    found: Delivery | None = await session.scalar(query)
    if found is None:
        raise DeliveryNotFound(str(delivery_id))
    return found


async def lock_delivery(session: AsyncSession, delivery_id: UUID) -> Delivery | None:
    """A delivery that nobody else moves until this transaction ends; None when its incident is gone."""
    query = select(Delivery).where(Delivery.id == delivery_id).with_for_update()
    found: Delivery | None = await session.scalar(query)
    return found


async def deliveries_of(session: AsyncSession, incident_id: UUID) -> Sequence[Delivery]:
    """What was told of an incident, and where."""
    query = select(Delivery).where(Delivery.incident_id == incident_id)
    return (await session.scalars(query.order_by(Delivery.id))).all()


def select_deliveries(
    caller: Caller, *, channel: str | None, state: DeliveryState | None, after: str | None, limit: int
) -> Select[Delivery]:
    """The deliveries that a caller may see, newest first."""
    query = select(Delivery).where(_visible(Delivery.model, caller))
    if channel is not None:
        query = query.where(Delivery.channel == channel)
    if state is not None:
        query = query.where(Delivery.state == state)
    if after is not None:
        query = query.where(Delivery.id < UUID(after))
    return query.order_by(Delivery.id.desc()).limit(limit + 1)
